//! Error responses: the error object of the OpenAI API.

use axum::{
    Json, Router,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use serve::{engine::SubmitError, process::AdminError, schedule::Refusal};

/// Most models that the error about an unknown one names.
pub(super) const MODELS_NAMED: usize = 5;
/// Ends the message about an unknown model; [`ApiError::naming`] may add names to it.
const MODELS_HINT: &str = "`GET /v1/models` lists the models of this server";
const MODEL_NOT_FOUND: &str = "model_not_found";

/// An error response, with the fields of OpenAI's error object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    retry_after_ms: Option<u64>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
            code: None,
            retry_after_ms: None,
        }
    }

    /// 400: a field of the request is invalid.
    pub(super) fn field(field: &str, why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("`{field}` {why}")).about(field)
    }

    /// 404: no such model.
    pub(super) fn unknown_model(name: &str) -> Self {
        let message = format!("the model `{name}` does not exist; {MODELS_HINT}");
        Self::new(StatusCode::NOT_FOUND, message)
            .about("model")
            .coded(MODEL_NOT_FOUND)
    }

    /// Returns true if this is the error about an unknown model.
    pub(super) fn is_unknown_model(&self) -> bool {
        self.code == Some(MODEL_NOT_FOUND)
    }

    /// Adds to the error about an unknown model which ones there are: all of `models`, or the first [`MODELS_NAMED`].
    pub(super) fn naming(mut self, models: &[&str]) -> Self {
        let shown: Vec<String> = models
            .iter()
            .take(MODELS_NAMED)
            .map(|name| format!("`{name}`"))
            .collect();
        let begins = match models.len() > MODELS_NAMED {
            true => ", such as ",
            false => ": ",
        };
        self.message += begins;
        self.message += &shown.join(", ");
        self
    }

    /// 500: the engine failed in the middle of a completion.
    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, why).coded("engine_failed")
    }

    pub(super) fn about(mut self, field: &str) -> Self {
        self.param = Some(field.to_owned());
        self
    }

    pub(super) fn coded(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    fn later(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The JSON object that clients read.
    pub(super) fn object(&self) -> Value {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        json!({ "error": { "message": self.message, "type": kind, "param": self.param, "code": self.code } })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.object())).into_response();
        if let Some(ms) = self.retry_after_ms {
            let value = HeaderValue::from(ms.div_ceil(1000).max(1));
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body was not read, so the connection cannot be reused.
            let value = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, value);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let value = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let text = error.to_string();
        let bad = |param| Self::new(StatusCode::BAD_REQUEST, text.clone()).about(param);
        let unavailable = || Self::new(StatusCode::SERVICE_UNAVAILABLE, text.clone());
        match &error {
            SubmitError::Unknown { .. } => Self::new(StatusCode::NOT_FOUND, format!("{text}; {MODELS_HINT}"))
                .about("model")
                .coded(MODEL_NOT_FOUND),
            SubmitError::InvalidArgument { field, .. } => bad(field),
            SubmitError::Refused(refusal) => match refusal {
                Refusal::EmptyPrompt => bad("prompt"),
                Refusal::PromptTooLong { .. } => bad("prompt").coded("context_length_exceeded"),
                Refusal::TooManyAdapters { .. } => bad("adapters"),
                Refusal::Adapter(_) => bad("model").coded("adapter_unusable"),
                Refusal::Full { retry_after_ms, .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, text)
                    .coded("queue_full")
                    .later(*retry_after_ms),
                Refusal::Waited { .. } => unavailable().coded("queue_timeout").later(1000),
                Refusal::Draining => unavailable().later(1000),
            },
            SubmitError::Stopped => unavailable().coded("engine_down").later(1000),
            SubmitError::CannotStart { retry_after_ms, .. } => {
                unavailable().coded("engine_down").later(*retry_after_ms)
            }
            SubmitError::Starting { retry_after_ms } => unavailable().coded("engine_starting").later(*retry_after_ms),
        }
    }
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        let (status, code) = match &error {
            AdminError::Unknown(_) => (StatusCode::NOT_FOUND, "adapter_not_found"),
            AdminError::Generation { .. } => (StatusCode::CONFLICT, "generation_conflict"),
            AdminError::Refused(_) => (StatusCode::BAD_REQUEST, "adapter_refused"),
            AdminError::Down(_) => (StatusCode::SERVICE_UNAVAILABLE, "engine_down"),
        };
        Self::new(status, error.to_string()).coded(code)
    }
}

/// Wraps a router so that its 405 responses, whose bodies axum leaves empty, have an error object that names the allowed
/// methods.
pub(super) fn with_allowed_methods(router: Router) -> Router {
    // Around the whole router: axum adds the `Allow` header outside of the layers of a route.
    Router::new()
        .fallback_service(router)
        .layer(middleware::from_fn(name_allowed_methods))
}

async fn name_allowed_methods(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let allow = response.headers().get(header::ALLOW);
    let Some(allow) = allow.filter(|_| response.status() == StatusCode::METHOD_NOT_ALLOWED) else {
        return response;
    };
    let methods = allow.to_str().unwrap_or_default().replace(',', " or ");
    let why = format!("`{path}` does not accept {method}; use {methods}");
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, why).coded("method_not_allowed");
    ([(header::ALLOW, allow.clone())], error).into_response()
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    #[tokio::test]
    async fn a_refused_method_is_answered_with_the_allowed_ones() {
        let router = with_allowed_methods(Router::new().route("/v1/models", get(|| async { "models" })));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/models", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        let response = base::http::plain().post(&url).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &HeaderValue::from_static("GET,HEAD"))
        );
        let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(
            body["error"]["message"],
            "`/v1/models` does not accept POST; use GET or HEAD"
        );
        assert_eq!(base::http::plain().get(&url).send().await.unwrap().status(), 200);
    }

    #[test]
    fn an_unknown_model_is_answered_with_how_to_list_them() {
        let unknown = SubmitError::Unknown {
            name: "gpt-4".to_owned(),
            why: "the model `gpt-4` does not exist".to_owned(),
        };
        let error = ApiError::from(unknown);
        assert_eq!(error, ApiError::unknown_model("gpt-4"));
        assert!(error.is_unknown_model());
        let hint = "the model `gpt-4` does not exist; `GET /v1/models` lists the models of this server";
        assert_eq!(error.object()["error"]["message"], hint);
        let all = error.clone().naming(&["base", "tone"]);
        assert_eq!(all.object()["error"]["message"], format!("{hint}: `base`, `tone`"));
        let some = error.naming(&["base", "a", "b", "c", "d", "e"]);
        assert_eq!(
            some.object()["error"]["message"],
            format!("{hint}, such as `base`, `a`, `b`, `c`, `d`")
        );
    }

    #[test]
    fn an_error_has_the_four_fields_of_openai() {
        let error = ApiError::field("n", "is 0").object();
        let fields: Vec<&String> = error["error"].as_object().unwrap().keys().collect();
        assert_eq!(fields, ["code", "message", "param", "type"]);
        assert_eq!(error["error"]["type"], "invalid_request_error");
    }

    #[test]
    fn a_wrong_field_is_named_and_a_full_queue_sets_retry_after() {
        let wrong: ApiError = SubmitError::InvalidArgument {
            field: "top_p".to_owned(),
            why: "is 2".to_owned(),
        }
        .into();
        assert_eq!(wrong.object()["error"]["param"], "top_p");
        let full = SubmitError::Refused(Refusal::Full {
            waiting: 9,
            retry_after_ms: 1500,
        });
        let response = ApiError::from(full).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}

//! Error responses: the error object of the OpenAI API.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use serve::{engine::SubmitError, process::AdminError, schedule::Refusal};

/// An error response.
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
        let message = format!("the model `{name}` does not exist; /v1/models lists those that do");
        Self::new(StatusCode::NOT_FOUND, message)
            .about("model")
            .coded("model_not_found")
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
            SubmitError::Unknown { .. } => Self::new(StatusCode::NOT_FOUND, text)
                .about("model")
                .coded("model_not_found"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_field_is_named_and_a_full_queue_says_when_to_come_back() {
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

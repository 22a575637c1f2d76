//! The guard of the OpenAI API: [`base::guard`] with refusals as the API's error objects, and CORS headers.
//!
//! `/health` needs no token, because monitoring has none.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base::guard::{Guard, Refusal};

use super::error::ApiError;

fn refused(refusal: Refusal) -> ApiError {
    let unknown = |why: &str| ApiError::new(StatusCode::UNAUTHORIZED, why).coded("invalid_api_key");
    match refusal {
        Refusal::Host(host) => {
            let why = format!("this engine does not answer for the host `{host}`; use localhost, or its address");
            ApiError::new(StatusCode::FORBIDDEN, why)
        }
        Refusal::Origin(origin) => {
            let why = format!("pages of `{origin}` may not ask this engine; name it with --allow-origin");
            ApiError::new(StatusCode::FORBIDDEN, why)
        }
        Refusal::WrongToken => unknown("the token is wrong"),
        Refusal::NoToken => {
            unknown("a token is needed: send `Authorization: Bearer TOKEN` with the one in the token file")
        }
    }
}

/// Middleware: lets a request through or refuses it.
pub(super) async fn check_access(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let preflight = request.method() == Method::OPTIONS;
    let open = preflight || request.uri().path() == "/health";
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match guard.check(request.headers(), open) {
        Ok(()) if preflight => StatusCode::NO_CONTENT.into_response(),
        Ok(()) => next.run(request).await,
        // No CORS headers here: a page of another origin cannot read the refusal.
        Err(error) => return refused(error).into_response(),
    };
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        if preflight {
            let (methods, names) = ("GET, POST", "authorization, content-type");
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&'static str, &str)], token: Option<&str>, open: bool) -> Result<(), StatusCode> {
        let guard = Guard::new(
            "127.0.0.1:8000".parse().unwrap(),
            &["http://page.example".to_owned()],
            token,
        );
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect();
        guard
            .check(&headers, open)
            .map_err(|error| refused(error).into_response().status())
    }

    const HOST: (&str, &str) = ("host", "localhost:8000");

    #[test]
    fn the_token_is_asked_for_except_where_health_is() {
        assert_eq!(check(&[HOST], Some("abc"), false), Err(StatusCode::UNAUTHORIZED));
        assert_eq!(check(&[HOST], Some("abc"), true), Ok(()));
        assert_eq!(check(&[HOST], None, false), Ok(()));
        for (header, expect) in [
            ("Bearer abc", Ok(())),
            ("bearer abc", Ok(())),
            ("Bearer abcd", Err(StatusCode::UNAUTHORIZED)),
            ("Basic abc", Err(StatusCode::UNAUTHORIZED)),
        ] {
            assert_eq!(
                check(&[HOST, ("authorization", header)], Some("abc"), false),
                expect,
                "{header}"
            );
        }
    }

    #[test]
    fn a_page_or_a_host_that_was_not_named_is_turned_away() {
        let denied = Err(StatusCode::FORBIDDEN);
        assert_eq!(check(&[("host", "evil.example")], None, true), denied);
        assert_eq!(check(&[HOST, ("origin", "http://evil.example")], None, true), denied);
        assert_eq!(check(&[HOST, ("origin", "http://page.example")], None, true), Ok(()));
    }
}

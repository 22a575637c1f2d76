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
            let why = format!(
                "this server does not serve the host name `{host}`; use localhost, or the address it listens on"
            );
            ApiError::new(StatusCode::FORBIDDEN, why)
        }
        Refusal::Origin(origin) => {
            let why = format!(
                "web pages of `{origin}` may not use this server; start it with `--allow-origin {origin}` to allow them"
            );
            ApiError::new(StatusCode::FORBIDDEN, why)
        }
        Refusal::WrongToken => unknown("the token is wrong; send the one in the token file of this server"),
        Refusal::NoToken => unknown(
            "a token is needed; send `Authorization: Bearer TOKEN` with the one in the token file of this server",
        ),
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
    fn every_path_but_health_needs_the_token() {
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
    fn a_foreign_host_or_origin_is_refused() {
        let denied = Err(StatusCode::FORBIDDEN);
        assert_eq!(check(&[("host", "evil.example")], None, true), denied);
        assert_eq!(check(&[HOST, ("origin", "http://evil.example")], None, true), denied);
        assert_eq!(check(&[HOST, ("origin", "http://page.example")], None, true), Ok(()));
    }
}

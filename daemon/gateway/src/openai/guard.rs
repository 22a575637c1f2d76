//! Who may ask: programs that know the token, and web pages that the operator named.
//!
//! A request must name this machine (see [`crate::api`]'s guard), and one that a page sent must come from a page that was
//! named. Whether the engine is well may be asked without the token, because those who watch it have none.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::error::ApiError;
use base::guard::{Origins, host_is_ours};

/// What a request has to show.
#[derive(Debug)]
pub(super) struct Gate {
    listen: SocketAddr,
    origins: Origins,
    /// Compared by their digests, which takes as long whatever they are.
    token: Option<blake3::Hash>,
}

impl Gate {
    pub(super) fn new(listen: SocketAddr, origins: &[String], token: Option<&str>) -> Self {
        Self {
            listen,
            origins: Origins::new(origins),
            token: token.map(|token| blake3::hash(token.as_bytes())),
        }
    }

    fn check(&self, headers: &HeaderMap, open: bool) -> Result<(), ApiError> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if !host_is_ours(host, self.listen) {
            let why = format!("this engine does not answer for the host `{host}`; use localhost, or its address");
            return Err(ApiError::new(StatusCode::FORBIDDEN, why));
        }
        if let Some(origin) = text(header::ORIGIN)
            && !self.origins.allow(origin)
        {
            let why = format!("pages of `{origin}` may not ask this engine; name it with --allow-origin");
            return Err(ApiError::new(StatusCode::FORBIDDEN, why));
        }
        let Some(token) = self.token.filter(|_| !open) else {
            return Ok(());
        };
        let given = text(header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        match given {
            Some(given) if blake3::hash(given.as_bytes()) == token => Ok(()),
            Some(_) => Err(ApiError::new(StatusCode::UNAUTHORIZED, "the token is wrong").coded("invalid_api_key")),
            None => {
                let why = "a token is needed: send `Authorization: Bearer TOKEN` with the one in the token file";
                Err(ApiError::new(StatusCode::UNAUTHORIZED, why).coded("invalid_api_key"))
            }
        }
    }
}

/// Lets a request through, or says why not.
pub(super) async fn only_ours(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let preflight = request.method() == Method::OPTIONS;
    let open = preflight || request.uri().path() == "/health";
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match gate.check(request.headers(), open) {
        Ok(()) if preflight => StatusCode::NO_CONTENT.into_response(),
        Ok(()) => next.run(request).await,
        // A page that was not named reads no answer.
        Err(error) => return error.into_response(),
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
        let gate = Gate::new(
            "127.0.0.1:8000".parse().unwrap(),
            &["http://page.example".to_owned()],
            token,
        );
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect();
        gate.check(&headers, open)
            .map_err(|error| error.into_response().status())
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

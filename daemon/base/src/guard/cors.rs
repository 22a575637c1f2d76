//! CORS rules for what everyone may read, such as JSON-RPC: programs other than browsers are never refused.
//!
//! A page of a configured origin gets the headers that let it read responses; others get none, and their browser hides the
//! response from them. WebSockets have no such protection, so other origins may not open one.

use axum::http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_MAX_AGE, ORIGIN, UPGRADE, VARY,
    },
};

use super::Origins;

/// The decision about a request.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Handle the request, and add these headers to the response.
    Pass(HeaderMap),
    /// Respond at once with this status and these headers.
    Answer(StatusCode, HeaderMap),
}

/// Decides by the `Origin` header. A request without one is not from a browser and passes.
pub fn decide(origins: &Origins, method: &Method, headers: &HeaderMap) -> Decision {
    let Some(origin) = headers.get(ORIGIN) else {
        return Decision::Pass(HeaderMap::new());
    };
    let allowed = origin.to_str().is_ok_and(|origin| origins.allow(origin));
    if !allowed && headers.contains_key(UPGRADE) {
        return Decision::Answer(StatusCode::FORBIDDEN, HeaderMap::new());
    }
    let mut answer = HeaderMap::new();
    if allowed {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(VARY, HeaderValue::from_static("origin"));
    }
    if method != Method::OPTIONS {
        return Decision::Pass(answer);
    }
    if allowed {
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    }
    Decision::Answer(StatusCode::NO_CONTENT, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "https://wallet.example";

    fn ask(method: Method, origin: Option<&'static str>, upgrade: bool) -> Decision {
        let mut headers = HeaderMap::new();
        headers.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))));
        headers.extend(upgrade.then_some((UPGRADE, HeaderValue::from_static("websocket"))));
        decide(&Origins::new(&[PAGE.to_owned()]), &method, &headers)
    }

    #[test]
    fn a_program_is_not_asked_where_it_comes_from() {
        assert_eq!(ask(Method::POST, None, false), Decision::Pass(HeaderMap::new()));
        assert_eq!(ask(Method::GET, None, true), Decision::Pass(HeaderMap::new()));
    }

    #[test]
    fn a_named_page_may_read_and_subscribe() {
        let Decision::Pass(headers) = ask(Method::POST, Some(PAGE), false) else {
            panic!("passed on")
        };
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
        assert!(matches!(ask(Method::GET, Some(PAGE), true), Decision::Pass(_)));
        let Decision::Answer(StatusCode::NO_CONTENT, headers) = ask(Method::OPTIONS, Some(PAGE), false) else {
            panic!("answered")
        };
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_HEADERS], "content-type");
    }

    #[test]
    fn another_page_reads_nothing_and_opens_no_websocket() {
        let other = Some("https://evil.example");
        assert_eq!(ask(Method::POST, other, false), Decision::Pass(HeaderMap::new()));
        assert_eq!(
            ask(Method::GET, other, true),
            Decision::Answer(StatusCode::FORBIDDEN, HeaderMap::new())
        );
        assert_eq!(
            ask(Method::OPTIONS, other, false),
            Decision::Answer(StatusCode::NO_CONTENT, HeaderMap::new())
        );
    }
}

//! The guard in front of every HTTP interface of a node.
//!
//! A browser sends requests on behalf of any open page. So the `Host` header must name this machine (against DNS
//! rebinding), the `Origin` must be one that the operator configured, and where an interface has a token, the request must
//! carry it. JSON-RPC only tells what the chain tells everyone and may stand behind a public name; it uses only the rules
//! in [`cors`]. The body of a refusal is up to each interface.
//!
//! # Why one guard
//!
//! Every interface once had its own, and they differed in what they checked. An omission in one is a hole in the node, so
//! the checks are written, and tested, once.

pub mod cors;
mod names;

use std::net::SocketAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

pub use self::names::Origins;
use self::names::host_is_ours;

/// The checks that a request must pass before its body is read.
#[derive(Debug)]
pub struct Guard {
    listen: SocketAddr,
    /// `None` if any origin passes: such an interface sends no CORS headers, so no page can read its responses.
    origins: Option<Origins>,
    /// Hash of the token. Comparing hashes takes the same time whatever was sent.
    token: Option<blake3::Hash>,
}

/// Reason why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The `Host` header, given here, names another machine.
    Host(String),
    /// The `Origin` header, given here, is not configured.
    Origin(String),
    NoToken,
    WrongToken,
}

impl Guard {
    /// A guard for tools on this machine: only the `Host` header is checked.
    pub fn of_host(listen: SocketAddr) -> Self {
        Self {
            listen,
            origins: None,
            token: None,
        }
    }

    /// A guard that checks host, origin and, if there is one, the token.
    pub fn new(listen: SocketAddr, origins: &[String], token: Option<&str>) -> Self {
        Self {
            listen,
            origins: Some(Origins::new(origins)),
            token: token.map(|token| blake3::hash(token.as_bytes())),
        }
    }

    /// Checks a request by its headers. One to an `open` route needs no token.
    pub fn check(&self, headers: &HeaderMap, open: bool) -> Result<(), Refusal> {
        let text = |name: HeaderName| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if !host_is_ours(host, self.listen) {
            return Err(Refusal::Host(host.to_owned()));
        }
        if let (Some(origins), Some(origin)) = (&self.origins, text(header::ORIGIN))
            && !origins.allow(origin)
        {
            return Err(Refusal::Origin(origin.to_owned()));
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
            Some(_) => Err(Refusal::WrongToken),
            None => Err(Refusal::NoToken),
        }
    }
}

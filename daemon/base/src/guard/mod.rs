//! The one guard in front of every HTTP interface of a node.
//!
//! A browser sends requests for any page that is open in it. So a request has to name this machine: a page's own name that
//! was made to point here is refused. A page has to be one that the operator named. And where an interface has a token,
//! a request has to show it. JSON-RPC tells what the chain tells everyone and may stand behind a public name; it uses only
//! the rules in [`cors`]. How a refusal looks is each interface's own matter.

pub mod cors;
mod names;

use std::net::SocketAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

pub use self::names::Origins;
use self::names::host_is_ours;

/// What a request has to show before it is read.
#[derive(Debug)]
pub struct Guard {
    listen: SocketAddr,
    /// None where pages are not asked for: such an interface gives no page the headers to read it.
    origins: Option<Origins>,
    /// Compared by their digests, which takes as long whatever they are.
    token: Option<blake3::Hash>,
}

/// Why a request is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is for another machine: what its `Host` header says.
    Host(String),
    /// It is from a page that the operator did not name.
    Origin(String),
    /// It shows no token.
    NoToken,
    /// It shows another token.
    WrongToken,
}

impl Guard {
    /// For an interface that only this machine's tools read: any page's requests have to name this machine.
    pub fn of_host(listen: SocketAddr) -> Self {
        Self {
            listen,
            origins: None,
            token: None,
        }
    }

    /// For an interface that named pages may ask, with a token where there is one.
    pub fn new(listen: SocketAddr, origins: &[String], token: Option<&str>) -> Self {
        Self {
            listen,
            origins: Some(Origins::new(origins)),
            token: token.map(|token| blake3::hash(token.as_bytes())),
        }
    }

    /// Lets a request through by its headers. An `open` one needs no token.
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

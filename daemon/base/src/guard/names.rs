//! Host and origin: whom a page believes it talks to, and where it was loaded from.

use std::net::{IpAddr, SocketAddr};

/// Returns true if a `Host` header names this machine: `localhost`, a loopback address, or the address that is listened on.
/// If that is the unspecified address, any IP address will do.
pub(super) fn host_is_ours(host: &str, listen: SocketAddr) -> bool {
    let name = without_port(host).to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(&name);
    // DNS rebinding needs a name; an IP address cannot be made to point elsewhere.
    bare.parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_loopback() || listen.ip().is_unspecified() || ip == listen.ip())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => {
            // `::1` has colons and no port; `[::1]:80` has both.
            if name.contains(':') && !name.ends_with(']') {
                host
            } else {
                name
            }
        }
        _ => host,
    }
}

/// The origins that the operator configured; `*` allows any.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Origins as configured; a trailing slash is ignored.
    pub fn new(names: &[String]) -> Self {
        Self(
            names
                .iter()
                .map(|name| name.trim_end_matches('/').to_ascii_lowercase())
                .collect(),
        )
    }

    /// Returns true if a page of this origin may read responses.
    pub fn allow(&self, origin: &str) -> bool {
        self.0
            .iter()
            .any(|name| name == "*" || *name == origin.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, listen: &str, expect: bool) {
        assert_eq!(
            host_is_ours(host, listen.parse().unwrap()),
            expect,
            "{host} at {listen}"
        );
    }

    #[test]
    fn a_host_is_ours_if_it_is_a_loopback_or_where_we_listen() {
        for host in [
            "localhost",
            "localhost:8551",
            "LOCALHOST:1",
            "127.0.0.1:8551",
            "127.0.0.9",
            "[::1]:8551",
            "[::1]",
            "::1",
        ] {
            check(host, "127.0.0.1:8551", true);
        }
        check("10.0.0.7:8551", "10.0.0.7:8551", true);
        check("10.0.0.7:8551", "127.0.0.1:8551", false);
        check("192.168.1.5:8551", "0.0.0.0:8551", true);
    }

    #[test]
    fn a_name_that_was_made_to_point_here_is_not_ours() {
        for host in [
            "evil.example",
            "evil.example:8551",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            ":80",
        ] {
            check(host, "127.0.0.1:8551", false);
            check(host, "0.0.0.0:8551", false);
        }
    }

    #[test]
    fn only_named_pages_may_read() {
        let origins = Origins::new(&["https://wallet.example/".to_owned()]);
        assert!(origins.allow("https://wallet.example") && !origins.allow("http://wallet.example"));
        assert!(!Origins::default().allow("https://wallet.example"));
        assert!(Origins::new(&["*".to_owned()]).allow("null"));
    }
}

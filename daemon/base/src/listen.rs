//! Listening on an address from the configuration; errors name the address and the key to change.

use std::{io, net::SocketAddr};

use tokio::net::TcpListener;

/// Reason why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("port {} on {} is in use by another program; stop it, or set {key} to another address", address.port(), address.ip())]
    Busy {
        address: SocketAddr,
        /// Key of the configuration.
        key: &'static str,
    },
    #[error("cannot listen on {address} ({source}); set {key} to an address of this machine")]
    Listen {
        address: SocketAddr,
        /// Key of the configuration.
        key: &'static str,
        source: io::Error,
    },
}

/// Listens on an address that came from `key` of the configuration. Returns the bound address too, for port 0.
pub async fn listen(address: SocketAddr, key: &'static str) -> Result<(TcpListener, SocketAddr), ListenError> {
    let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Busy { address, key },
        _ => ListenError::Listen { address, key, source },
    })?;
    let bound = listener
        .local_addr()
        .map_err(|source| ListenError::Listen { address, key, source })?;
    Ok((listener, bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_is_one_sentence_with_the_port_and_the_key() {
        let (_held, address) = listen("127.0.0.1:0".parse().unwrap(), "rpc.listen").await.unwrap();
        let why = listen(address, "rpc.listen").await.unwrap_err().to_string();
        let port = address.port();
        assert_eq!(
            why,
            format!(
                "port {port} on 127.0.0.1 is in use by another program; stop it, or set rpc.listen to another address"
            )
        );
    }
}

//! HTTP clients. All of ours talk to this machine, in the clear and through no proxy.

use std::sync::Once;

/// What a client is built from. The data plane brings TLS into the program, and a client wants to know whose before it
/// makes no use of it.
pub fn client() -> reqwest::ClientBuilder {
    static CHOSEN: Once = Once::new();
    CHOSEN.call_once(|| {
        // An error means that somebody else chose first, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
    reqwest::Client::builder().no_proxy()
}

/// A client with nothing special about it.
pub fn plain() -> reqwest::Client {
    client().build().expect("a client without options can be built")
}

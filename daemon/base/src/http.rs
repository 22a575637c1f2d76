//! HTTP clients for services of this machine: no TLS, no proxy.

use std::sync::Once;

/// A client builder. reqwest needs a TLS provider although no connection uses TLS, because the data plane compiles TLS in;
/// the first call installs one.
pub fn client() -> reqwest::ClientBuilder {
    static CHOSEN: Once = Once::new();
    CHOSEN.call_once(|| {
        // An error means that another one is installed already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
    reqwest::Client::builder().no_proxy()
}

/// A client with default options.
pub fn plain() -> reqwest::Client {
    client().build().expect("a client without options can be built")
}

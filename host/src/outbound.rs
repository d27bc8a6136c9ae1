//! How the service and its commands ask others over HTTP: the parts that are the same whoever is asked. Timeouts are the caller's.

use reqwest::{Client, ClientBuilder, Url, redirect};

/// A client for the server at `url`, to be finished. Redirects are not followed: whoever is asked was named by a setting, and a
/// secret for it is for nobody else. Plain HTTP works on machines without any certificate authority.
pub fn client(url: &Url) -> ClientBuilder {
    // Fails only when a provider is there already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .redirect(redirect::Policy::none())
        .user_agent(concat!("p2p-coordinator/", env!("CARGO_PKG_VERSION")));
    if url.scheme() == "http" {
        builder.tls_certs_only([])
    } else {
        builder
    }
}

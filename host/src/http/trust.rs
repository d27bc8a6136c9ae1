//! Whom requests make the service believe: the proxies that name a client's address, and the web pages that may call. SIGHUP
//! exchanges both while requests go on. Decides nothing else.

use std::net::IpAddr;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use axum::http::HeaderValue;
use ipnet::IpNet;

use crate::config::Config;

/// `TRUSTED_PROXIES` and `CORS_ORIGINS` as they hold now.
pub struct Trust {
    proxies: ArcSwap<Vec<IpNet>>,
    pages: ArcSwap<Pages>,
}

/// Web pages that may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    None,
    Any,
    /// Their origins.
    Listed(Vec<HeaderValue>),
}

impl Trust {
    /// From the settings.
    ///
    /// # Errors
    /// When an origin cannot stand in a header.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            pages: ArcSwap::from_pointee(Pages::of(&config.security.cors_origins)?),
            proxies: ArcSwap::from_pointee(config.server.trusted_proxies.clone()),
        })
    }

    /// Goes on with other settings.
    pub fn replace(&self, with: Self) {
        self.pages.store(with.pages.into_inner());
        self.proxies.store(with.proxies.into_inner());
    }

    /// A look at the proxies, for one request.
    pub(super) fn is_proxy(&self) -> impl Fn(IpAddr) -> bool {
        let proxies = self.proxies.load();
        move |address| proxies.iter().any(|network| network.contains(&address))
    }

    /// Whether an answer depends on who asks: caches between must not give it to another page.
    pub(super) fn answers_vary(&self) -> bool {
        matches!(**self.pages(), Pages::Listed(_))
    }

    /// The pages, for one request.
    pub(super) fn pages(&self) -> arc_swap::Guard<std::sync::Arc<Pages>> {
        self.pages.load()
    }
}

impl Pages {
    fn of(origins: &[String]) -> anyhow::Result<Self> {
        if origins.iter().any(|origin| origin == "*") {
            return Ok(Self::Any);
        }
        let parse =
            |origin: &String| HeaderValue::from_str(origin).with_context(|| format!("CORS_ORIGINS: {origin:?}"));
        let origins = origins.iter().map(parse).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(if origins.is_empty() {
            Self::None
        } else {
            Self::Listed(origins)
        })
    }
}

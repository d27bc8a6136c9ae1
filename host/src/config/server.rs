//! Where the service listens, whom it believes, and how long a shutdown may take.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;

use super::reader::Reader;
use super::tls::TlsConfig;

/// `HOST`, `PORT` and what is spoken there, and how long a shutdown may take.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub host: IpAddr,
    pub port: u16,
    /// `TLS_CERT_FILE` and `TLS_KEY_FILE`: none means plain HTTP.
    pub tls: Option<TlsConfig>,
    /// `SHUTDOWN_GRACE_SECONDS`: from the signal to the hard end.
    pub shutdown_grace: Duration,
    /// `TRUSTED_PROXIES`: networks whose `X-Forwarded-For` is believed. Empty: the socket's address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// `WS_MAX_CONNECTIONS`: WebSocket connections at one time.
    pub max_connections: usize,
    /// `WORKER_THREADS`: none means one for each processor.
    pub worker_threads: Option<usize>,
}

impl ServerConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let host = match reader.text("HOST") {
            "localhost" => localhost,
            text => text.parse().unwrap_or_else(|_| {
                reader.refuse("HOST", "must be an IP address, for example 0.0.0.0 or 127.0.0.1");
                localhost
            }),
        };
        let mut trusted_proxies = Vec::new();
        for item in reader.list("TRUSTED_PROXIES") {
            let network = item
                .parse::<IpNet>()
                .or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
            match network {
                Ok(network) if network.prefix_len() == 0 => reader.refuse(
                    "TRUSTED_PROXIES",
                    format!("{item:?} is everybody: any client could then choose its address; list your own proxies"),
                ),
                Ok(network) => trusted_proxies.push(network),
                Err(_) => reader.refuse(
                    "TRUSTED_PROXIES",
                    format!(
                        "{item:?} is no IP address and no network; write 10.0.0.7 or 10.0.0.0/8, separated by commas"
                    ),
                ),
            }
        }
        Self {
            host,
            port: reader.number("PORT", 0..=u16::MAX),
            tls: TlsConfig::read(reader),
            shutdown_grace: reader.span("SHUTDOWN_GRACE_SECONDS", Duration::from_secs(1), 0.0..=600.0),
            trusted_proxies,
            max_connections: reader.number("WS_MAX_CONNECTIONS", 1..=10_000_000),
            worker_threads: reader
                .given("WORKER_THREADS")
                .is_some()
                .then(|| reader.number("WORKER_THREADS", 1..=1024)),
        }
    }
}

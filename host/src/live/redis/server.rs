//! Finds the server that takes writes, and opens one connection to it. Behind sentinels that is the master they name; in a
//! cluster it is the node that owns our slot. Keeps nothing: who loses a connection asks again.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::select_ok;
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo,
    TlsCertificates, Value, cmd,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::keys::Keys;
use crate::config::{RedisLayout, RedisUrl};

/// Longest time for one answer, and for opening one connection.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);
/// Longest time for finding the server and opening a connection to it.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the mark of the data's life stays without a node that looks at it, in seconds.
const EPOCH_TTL: u32 = 7 * 24 * 3600;
/// Commands that may wait for the connection's writer.
const WAITING: usize = 1024;

/// Where Redis is.
pub(super) struct Server {
    pub url: RedisUrl,
    pub keys: Keys,
    /// The authorities of `url.ca`, in PEM.
    ca: Option<Vec<u8>>,
}

/// A new connection, and what was found at the other end.
pub(super) struct Opened {
    pub connection: MultiplexedConnection,
    /// Host and port.
    address: String,
    /// See `Opened::look`.
    pub epoch: String,
    /// The server has sharded channels.
    pub sharded: bool,
}

impl Server {
    pub(super) fn new(url: RedisUrl) -> anyhow::Result<Self> {
        // Fails when another part of the process has done it, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = url.ca.as_ref().map(|path| {
            std::fs::read(path).with_context(|| format!("REDIS_URL: cannot read {} behind ?ca=", path.display()))
        });
        Ok(Self {
            keys: Keys::new(url.layout == RedisLayout::Cluster),
            ca: ca.transpose()?,
            url,
        })
    }

    /// Opens a connection to the server that takes writes now. `pushes` gets what the server sends unasked, and the end.
    pub(super) async fn open(&self, pushes: impl AsyncPushSender) -> anyhow::Result<Opened> {
        let open = async {
            let (host, port) = self.find().await?;
            let settings = login(self.url.user.as_deref(), self.url.password.as_ref()).set_db(self.url.database);
            let config = config().set_push_sender(pushes);
            let connected = self.connect(&host, port, settings, &config).await;
            let mut connection = connected.with_context(|| format!("{host}:{port}"))?;
            // A write, so that a replica or a server that still loads is no success.
            let address = format!("{host}:{port}");
            let epoch = epoch(&mut connection, self.keys, &address).await;
            let epoch = epoch.with_context(|| format!("{address} takes no writes"))?;
            let sharded = cmd("SPUBLISH")
                .arg(self.keys.probe())
                .arg("")
                .exec_async(&mut connection)
                .await;
            Ok(Opened {
                connection,
                address,
                epoch,
                sharded: sharded.is_ok(),
            })
        };
        let opened = tokio::time::timeout(OPEN_TIMEOUT, open).await;
        opened.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", OPEN_TIMEOUT.as_secs())))
    }

    async fn find(&self) -> anyhow::Result<(String, u16)> {
        match &self.url.layout {
            RedisLayout::Single => self.url.servers.first().cloned().context("no server is named"),
            RedisLayout::Sentinel { master } => {
                let asked = self
                    .url
                    .servers
                    .iter()
                    .map(|(host, port)| Box::pin(self.ask_sentinel(host, *port, master)));
                Ok(select_ok(asked).await?.0)
            }
            RedisLayout::Cluster => {
                let asked = self
                    .url
                    .servers
                    .iter()
                    .map(|(host, port)| Box::pin(self.ask_node(host, *port)));
                Ok(select_ok(asked).await?.0)
            }
        }
    }

    async fn ask_sentinel(&self, host: &str, port: u16, master: &str) -> anyhow::Result<(String, u16)> {
        let at = || format!("sentinel {host}:{port}");
        let settings = login(None, self.url.sentinel_password.as_ref());
        let mut sentinel = self.connect(host, port, settings, &config()).await.with_context(at)?;
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        let found: Option<(String, u16)> = question.query_async(&mut sentinel).await.with_context(at)?;
        found.with_context(|| format!("sentinel {host}:{port} knows no master {master:?}"))
    }

    async fn ask_node(&self, host: &str, port: u16) -> anyhow::Result<(String, u16)> {
        let at = || format!("cluster node {host}:{port}");
        let settings = login(self.url.user.as_deref(), self.url.password.as_ref());
        let mut node = self.connect(host, port, settings, &config()).await.with_context(at)?;
        let mut question = cmd("CLUSTER");
        question.arg("KEYSLOT").arg(self.keys.prefix());
        let slot: i64 = question.query_async(&mut node).await.with_context(at)?;
        let slots: Vec<Vec<Value>> = cmd("CLUSTER")
            .arg("SLOTS")
            .query_async(&mut node)
            .await
            .with_context(at)?;
        let owner = slots.iter().find_map(|range| owner(range, slot, host));
        owner.with_context(|| format!("{}: no node owns slot {slot}", at()))
    }

    async fn connect(
        &self,
        host: &str,
        port: u16,
        settings: RedisConnectionInfo,
        config: &AsyncConnectionConfig,
    ) -> anyhow::Result<MultiplexedConnection> {
        let host = host.to_owned();
        let address = if self.url.tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let settings = settings
            .set_protocol(ProtocolVersion::RESP3)
            .set_lib_name("p2p-coordinator", env!("CARGO_PKG_VERSION"));
        let info = address.into_connection_info()?.set_redis_settings(settings);
        let info = info
            .clone()
            .set_tcp_settings(info.tcp_settings().clone().set_nodelay(true));
        let client = match &self.ca {
            Some(ca) => Client::build_with_tls(
                info,
                TlsCertificates {
                    client_tls: None,
                    root_cert: Some(ca.clone()),
                },
            ),
            None => Client::open(info),
        };
        let connection = client?.get_multiplexed_async_connection_with_config(config).await?;
        Ok(connection)
    }
}

impl Opened {
    /// Tries the connection. The answer is different when the server has lost its data, and at another server, which may lack
    /// what the first one had.
    pub(super) async fn look(&mut self, keys: Keys) -> redis::RedisResult<String> {
        epoch(&mut self.connection, keys, &self.address).await
    }
}

/// Reads the mark of the data's life, keeps it, and sets one where there is none.
async fn epoch(connection: &mut MultiplexedConnection, keys: Keys, address: &str) -> redis::RedisResult<String> {
    let key = keys.epoch();
    let mut keep = cmd("GETEX");
    keep.arg(&key).arg("EX").arg(EPOCH_TTL);
    let mut mark: Option<String> = keep.query_async(connection).await?;
    if mark.is_none() {
        let mut bytes = [0_u8; 8];
        // Without randomness the marks of two lives may be the same, and the loss is noticed by the reconnect alone.
        let _ = getrandom::fill(&mut bytes);
        let mut set = cmd("SET");
        set.arg(&key).arg(hex::encode(bytes)).arg("NX").arg("EX").arg(EPOCH_TTL);
        set.exec_async(connection).await?;
        mark = cmd("GET").arg(&key).query_async(connection).await?;
    }
    Ok(format!("{} at {address}", mark.unwrap_or_default()))
}

fn login(user: Option<&str>, password: Option<&SecretString>) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default();
    if let Some(user) = user {
        settings = settings.set_username(user);
    }
    if let Some(password) = password {
        settings = settings.set_password(password.expose_secret());
    }
    settings
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(TIMEOUT))
        .set_response_timeout(Some(TIMEOUT))
        .set_pipeline_buffer_size(WAITING)
}

/// The master of a range of slots, when `slot` is in it. A node that does not know its own name is the one that was asked.
fn owner(range: &[Value], slot: i64, asked: &str) -> Option<(String, u16)> {
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = range else {
        return None;
    };
    if !(*first..=*last).contains(&slot) {
        return None;
    }
    let host = master
        .first()
        .and_then(|host| redis::from_redis_value::<String>(host.clone()).ok());
    let host = host.filter(|host| !host.is_empty() && host != "?");
    let Some(Value::Int(port)) = master.get(1) else {
        return None;
    };
    Some((host.unwrap_or_else(|| asked.to_owned()), u16::try_from(*port).ok()?))
}

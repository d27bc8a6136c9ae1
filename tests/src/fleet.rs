//! Several coordinators that share one PostgreSQL and one Redis.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::postgres::{Database, Postgres};
use crate::redis::Redis;
use crate::server::{Options, Server};

/// The servers of the fleet and what they share.
#[derive(Debug)]
pub struct Fleet {
    pub nodes: Vec<Server>,
    pub redis: Redis,
    pub postgres: Postgres,
    database: Arc<Database>,
}

impl Fleet {
    /// So many nodes on servers of their own.
    #[must_use]
    pub fn start(nodes: usize) -> Self {
        Self::with(nodes, &Options::default())
    }

    /// As `start`, with these settings.
    #[must_use]
    pub fn with(nodes: usize, options: &Options) -> Self {
        let (redis, postgres) = (Redis::start(), Postgres::start());
        let database = Arc::new(postgres.database());
        let mut fleet = Self {
            nodes: Vec::new(),
            redis,
            postgres,
            database,
        };
        fleet.nodes = (0..nodes).map(|_| fleet.options(options.clone()).start()).collect();
        fleet
    }

    /// The settings of a further node.
    #[must_use]
    pub fn options(&self, options: Options) -> Options {
        options
            .env_default("DATABASE_POOL_SIZE", 5)
            .env("DATABASE_URL", self.database.url())
            .env("REDIS_URL", self.redis.url())
    }

    /// The fleet's database.
    #[must_use]
    pub fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database)
    }

    /// Runs a statement in the fleet's database.
    #[must_use]
    pub fn sql(&self, statement: &str) -> String {
        self.database.sql(statement)
    }
}

/// A way to a server that can be cut and mended.
#[derive(Debug)]
pub struct Cable {
    port: u16,
    whole: watch::Sender<bool>,
}

impl Cable {
    /// A whole one to this port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (whole, watching) = watch::channel(true);
        let here = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let watching = watching.clone();
                tokio::spawn(carry(client, port, watching));
            }
        });
        Self { port: here, whole }
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection, and refuses new ones.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn carry(mut client: TcpStream, port: u16, mut whole: watch::Receiver<bool>) {
    if !*whole.borrow() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = whole.wait_for(|whole| !whole) => {}
    }
}

/// How long something took, for a line in a test's output.
#[must_use]
pub fn millis(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1000.0)
}

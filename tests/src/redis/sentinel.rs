//! A master, a replica of it, and a sentinel that makes the replica the master when the master is gone.

use super::{Redis, plain, words};

/// The name by which the sentinel knows the master.
const MASTER: &str = "coordinator";

/// The three of them.
#[derive(Debug)]
pub struct Sentinels {
    pub master: Redis,
    pub replica: Redis,
    sentinel: Redis,
}

impl Sentinels {
    /// Starts them, and waits until a failover is possible.
    #[must_use]
    pub fn start() -> Self {
        let master = Redis::start();
        let of = master.port();
        let replica = Redis::launch("redis", None, |port, folder| {
            let mut arguments = plain(folder);
            arguments.extend(words(&format!("--port {port} --replicaof 127.0.0.1 {of}")));
            arguments
        });
        let sentinel = Redis::launch("redis+sentinel", None, |port, folder| {
            let file = folder.join("sentinel.conf");
            let log = folder.join("log");
            let settings = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nlogfile {}\nsentinel monitor {MASTER} 127.0.0.1 {of} 1\n\
                 sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 3000\n",
                folder.display(),
                log.display()
            );
            std::fs::write(&file, settings).expect("a file");
            vec![super::text(file), "--sentinel".to_owned()]
        });
        replica.wait_for("replication", || {
            replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
        });
        sentinel.wait_for("the sentinel", || {
            sentinel
                .cli(&["SENTINEL", "REPLICAS", MASTER])
                .contains(&replica.port().to_string())
        });
        Self {
            master,
            replica,
            sentinel,
        }
    }

    /// Its `REDIS_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/{MASTER}/0", self.sentinel.port())
    }
}

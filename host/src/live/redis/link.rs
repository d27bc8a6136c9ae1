//! One connection that many callers share, and the task that keeps it: it opens it, watches it, and opens it again with
//! growing pauses. Callers never wait for that: while the server is away, a call fails at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, PushInfo, PushKind, RedisError, ServerErrorKind, ToRedisArgs, Value, cmd};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::metrics::CallMetrics;
use super::server::{Opened, Server};
use super::status::Status;
use crate::ports::live::LiveError;

/// How often a connection is tried without being asked.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// The first pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A script that runs on the server in one step.
pub struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    /// A script in Lua.
    #[must_use]
    pub fn new(code: &'static str) -> Self {
        Self {
            code,
            hash: redis::Script::new(code).get_hash().to_owned(),
        }
    }
}

/// A connection as it comes and goes.
pub(super) struct Link {
    current: ArcSwapOption<Current>,
    /// Calls run in the order they are made, so none may be sent again.
    ordered: bool,
    calls: Arc<CallMetrics>,
}

struct Current {
    connection: MultiplexedConnection,
    lost: CancellationToken,
    /// Hashes of the scripts that were sent on this connection with their text.
    loaded: Mutex<HashSet<String>>,
}

impl Link {
    /// A link that a task of its own keeps until `end`.
    pub(super) fn start(
        (server, status): (Arc<Server>, Arc<Status>),
        calls: Arc<CallMetrics>,
        end: CancellationToken,
        ordered: bool,
    ) -> Arc<Self> {
        let link = Arc::new(Self {
            current: ArcSwapOption::empty(),
            ordered,
            calls,
        });
        tokio::spawn(end.run_until_cancelled_owned(link.clone().keep(server, status)));
        link
    }

    pub(super) fn is_up(&self) -> bool {
        self.current
            .load()
            .as_ref()
            .is_some_and(|current| !current.lost.is_cancelled())
    }

    /// One command.
    pub(super) async fn query(&self, command: &Cmd) -> Result<Value, LiveError> {
        let call = async { self.current()?.query(command).await.map_err(unavailable) };
        self.calls.command(call).await
    }

    /// One run of a script. The first one of a connection carries the text, the later ones its hash.
    pub(super) async fn eval<K: ToRedisArgs, A: ToRedisArgs>(
        &self,
        script: &Script,
        keys: &[K],
        args: &A,
    ) -> Result<Value, LiveError> {
        self.calls.script(self.run(script, keys, args)).await
    }

    async fn run<K: ToRedisArgs, A: ToRedisArgs>(
        &self,
        script: &Script,
        keys: &[K],
        args: &A,
    ) -> Result<Value, LiveError> {
        let current = self.current()?;
        let call = |name, text: &str| {
            let mut call = cmd(name);
            call.arg(text).arg(keys.len()).arg(keys).arg(args);
            call
        };
        let first = current.loaded.lock().insert(script.hash.clone());
        if first {
            return current.query(&call("EVAL", script.code)).await.map_err(unavailable);
        }
        match current.query(&call("EVALSHA", &script.hash)).await {
            // The server dropped its scripts.
            Err(error) if is(&error, ServerErrorKind::NoScript) => {
                if self.ordered {
                    current.lost.cancel();
                    return Err(unavailable(error));
                }
                current.query(&call("EVAL", script.code)).await.map_err(unavailable)
            }
            answer => answer.map_err(unavailable),
        }
    }

    fn current(&self) -> Result<Arc<Current>, LiveError> {
        self.current
            .load_full()
            .filter(|current| !current.lost.is_cancelled())
            .ok_or_else(|| LiveError::Unavailable(anyhow::anyhow!("Redis is away")))
    }

    async fn keep(self: Arc<Self>, server: Arc<Server>, status: Arc<Status>) {
        let mut pauses = Pauses::default();
        loop {
            let lost = CancellationToken::new();
            let end = lost.clone();
            let pushes = move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    end.cancel();
                }
                Ok::<(), ()>(())
            };
            match server.open(pushes).await {
                Ok(mut opened) => {
                    let since = Instant::now();
                    self.current.store(Some(Arc::new(Current {
                        connection: opened.connection.clone(),
                        lost: lost.clone(),
                        loaded: Mutex::default(),
                    })));
                    status.opened(opened.epoch.clone(), opened.sharded);
                    let why = watch(&mut opened, &server, &status, &lost).await;
                    lost.cancel();
                    self.current.store(None);
                    status.lost(why);
                    pauses.after(since.elapsed());
                }
                Err(error) => status.failed(error),
            }
            pauses.wait().await;
        }
    }
}

impl Current {
    async fn query(&self, command: &Cmd) -> redis::RedisResult<Value> {
        let mut connection = self.connection.clone();
        // A budget that runs out at the first poll would let a later call overtake this one.
        let sent = tokio::task::unconstrained(connection.send_packed_command(command));
        let answer = sent.await.and_then(Value::extract_error);
        if answer.as_ref().is_err_and(ends_a_connection) {
            self.lost.cancel();
        }
        answer
    }
}

/// Tries the connection on and on; returns why it is of no use any more.
pub(super) async fn watch(opened: &mut Opened, server: &Server, status: &Status, lost: &CancellationToken) -> String {
    loop {
        tokio::select! {
            () = lost.cancelled() => return "the connection was lost or too slow".to_owned(),
            () = tokio::time::sleep(KEEPALIVE) => {}
        }
        let alive = lost.run_until_cancelled(opened.look(server.keys)).await;
        match alive {
            Some(Ok(epoch)) => status.saw(epoch),
            Some(Err(error)) => return error.to_string(),
            None => {}
        }
    }
}

/// Growing pauses with jitter between attempts to connect.
#[derive(Default)]
pub(super) struct Pauses(u32);

impl Pauses {
    /// A connection that held for a while makes the next pause short again.
    pub(super) fn after(&mut self, held: Duration) {
        if held > LONGEST_PAUSE {
            self.0 = 0;
        }
    }

    pub(super) async fn wait(&mut self) {
        let longest = FIRST_PAUSE.saturating_mul(1 << self.0.min(8)).min(LONGEST_PAUSE);
        self.0 = self.0.saturating_add(1);
        let mut byte = [0_u8];
        // Without randomness the longest pause will do.
        let part = getrandom::fill(&mut byte).map_or(1.0, |()| f64::from(byte[0]) / 255.0);
        tokio::time::sleep(longest.mul_f64(0.5 + part / 2.0)).await;
    }
}

/// After such an error another connection, perhaps to another server, is the way on.
fn ends_a_connection(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly};
    error.is_timeout()
        || error.is_unrecoverable_error()
        || [Moved, ReadOnly, MasterDown, ClusterDown, BusyLoading]
            .into_iter()
            .any(|kind| is(error, kind))
}

fn is(error: &RedisError, kind: ServerErrorKind) -> bool {
    error.kind() == ErrorKind::Server(kind)
}

pub(super) fn unavailable(error: RedisError) -> LiveError {
    LiveError::Unavailable(error.into())
}

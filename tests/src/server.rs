//! The real process: started on a free port with a data folder of its own, watched, killed, restarted.
//!
//! The program is looked for beside the test executable, or where `P2P_COORDINATOR_BIN` points.

mod compiled;
mod log;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use self::compiled::{keep_warm, warm_up};
use self::log::Log;
use crate::certificates::Certificates;
use crate::client::Client;
use crate::postgres::{self, Database};
use crate::redis::Redis;
use crate::wait::PATIENCE;

/// The API key of every server that the tests start.
pub const API_KEY: &str = "black-box-api-key-0123456789-0123456789-0123";
/// The signing key of every server that the tests start.
pub const JWT_SECRET: &str = "black-box-jwt-secret-9876543210-9876543210-98";

/// The program under test.
#[must_use]
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("P2P_COORDINATOR_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test executable has a path");
    let profile = test.ancestors().nth(2).expect("it lies in target/<profile>/deps");
    let path = profile.join(format!("p2p-coordinator{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.exists(),
        "{} is missing: run `cargo build` first, or set P2P_COORDINATOR_BIN",
        path.display()
    );
    path
}

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Options {
    env: BTreeMap<String, String>,
    /// What stands in `.env` of the working folder.
    env_file: String,
    /// Kept while a server may use it.
    database: Option<Arc<Database>>,
    /// With `TEST_LIVE=redis`: the server's own Redis.
    redis: Option<Arc<Redis>>,
    /// With these, HTTPS is spoken.
    certificates: Option<Arc<Certificates>>,
    /// Plain HTTP even with `TEST_TLS=1`.
    plain: bool,
}

impl Default for Options {
    fn default() -> Self {
        let pairs = [
            ("ENVIRONMENT", "development"),
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("LOG_LEVEL", "info"),
            ("JWT_SECRET_KEY", JWT_SECRET),
            ("COORDINATOR_API_KEY", API_KEY),
            ("AI_SERVICE_ENABLED", "false"),
            ("RATE_LIMIT_ENABLED", "false"),
        ];
        Self {
            env: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            env_file: String::new(),
            database: None,
            redis: None,
            certificates: None,
            plain: false,
        }
    }
}

impl Options {
    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    /// Sets a variable that is not set yet.
    #[must_use]
    pub fn env_default(mut self, name: &str, value: impl ToString) -> Self {
        self.env.entry(name.to_owned()).or_insert_with(|| value.to_string());
        self
    }

    /// Leaves a variable out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// Writes settings into `.env`, which the environment goes before. See [`Server::write_settings`].
    #[must_use]
    pub fn settings(mut self, text: &str) -> Self {
        text.clone_into(&mut self.env_file);
        self
    }

    /// Serves over TLS, and has clients of the server trust its authority.
    #[must_use]
    pub fn tls(self, certificates: &Arc<Certificates>) -> Self {
        let mut this = self
            .env("TLS_CERT_FILE", certificates.certificate().display())
            .env("TLS_KEY_FILE", certificates.key().display());
        this.certificates = Some(Arc::clone(certificates));
        this
    }

    /// Serves plain HTTP in any case.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// With `TEST_STORAGE=postgres` and no `DATABASE_URL`: a fresh database of PostgreSQL.
    fn with_storage(mut self) -> Self {
        if std::env::var("TEST_STORAGE").is_ok_and(|kind| kind == "postgres") && !self.env.contains_key("DATABASE_URL")
        {
            let database = Arc::new(postgres::database());
            self = self.env("DATABASE_URL", database.url());
            self.database = Some(database);
        }
        self
    }

    /// With `TEST_TLS=1`: HTTPS.
    fn with_tls(self) -> Self {
        let wanted = std::env::var("TEST_TLS").is_ok_and(|tls| tls == "1");
        if wanted && !self.plain && self.certificates.is_none() {
            self.tls(&Arc::new(Certificates::new()))
        } else {
            self
        }
    }

    /// With `TEST_LIVE=redis` and no `REDIS_URL`: a Redis of its own.
    fn with_live(mut self) -> Self {
        let in_redis = std::env::var("TEST_LIVE").is_ok_and(|live| live == "redis");
        if in_redis && !self.env.contains_key("REDIS_URL") {
            let redis = Arc::new(Redis::start());
            self = self.env("REDIS_URL", redis.url());
            self.redis = Some(redis);
        }
        self
    }

    /// Starts a server in a fresh data folder and waits until it listens.
    #[must_use]
    pub fn start(self) -> Server {
        let this = self.with_storage().with_live().with_tls();
        let home = tempfile::Builder::new()
            .prefix("p2p-black-box-")
            .tempdir()
            .expect("a temporary folder");
        Server::launch(Arc::new(home), this)
    }

    /// Runs the program to its end (for `check-config` and refusals) and returns its status and all it said.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut child = self
            .command(home.path())
            .args(arguments)
            .spawn()
            .expect("the program starts");
        let said = Log::default();
        let readers = said.follow(&mut child);
        let status = wait_for_end(&mut child).unwrap_or_else(|| {
            child.kill().ok();
            panic!("the program did not end; it said:\n{}", said.text())
        });
        for reader in readers {
            reader.join().ok();
        }
        (status, said.text())
    }

    fn command(&self, home: &Path) -> Command {
        let mut command = Command::new(program());
        command
            .env_clear()
            .env("DATA_DIR", home.join("data"))
            .envs(&self.env)
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }
}

/// A connection, over TLS or not.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A running coordinator. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: String,
    home: Arc<TempDir>,
    options: Options,
    log: Log,
}

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

impl Server {
    /// A server of its own with the defaults of the tests: development, no rate limits, no AI service.
    #[must_use]
    pub fn start() -> Self {
        Options::default().start()
    }

    /// One server for all tests that leave no trace others could stumble over. Stops with the last test that holds it.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        let mut slot = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = slot.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start());
        *slot = Arc::downgrade(&server);
        server
    }

    fn launch(home: Arc<TempDir>, options: Options) -> Self {
        warm_up(&home.path().join("data/compiled"));
        std::fs::write(home.path().join(".env"), &options.env_file).expect("a file");
        let mut child = options.command(home.path()).spawn().expect("the program starts");
        let log = Log::default();
        log.follow(&mut child);
        let mut server = Self {
            child,
            address: String::new(),
            home,
            options,
            log,
        };
        server.address = server.wait_for_address();
        keep_warm(&server.home.path().join("data/compiled"));
        server
    }

    fn wait_for_address(&mut self) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(address) = self.log.text().lines().find_map(address_in) {
                return address;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the server ended with {status}:\n{}", self.log.text());
            }
            assert!(
                Instant::now() < end,
                "the server did not say where it listens:\n{}",
                self.log.text()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The whole address of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let scheme = self.options.certificates.as_ref().map_or("http", |_| "https");
        format!("{scheme}://{}{path}", self.address)
    }

    /// The process's number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder the process runs in; its data lies in `data` below.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// All that the process has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// A client without a credential.
    #[must_use]
    pub fn anonymous(&self) -> Client {
        match &self.options.certificates {
            Some(certificates) => Client::over_tls(&self.address, certificates),
            None => Client::new(&self.address),
        }
    }

    /// A bare connection, over TLS when the server speaks it.
    pub async fn connect(&self) -> Box<dyn Stream> {
        match &self.options.certificates {
            Some(certificates) => Box::new(certificates.connect(&self.address).await.expect("a handshake")),
            None => Box::new(TcpStream::connect(&self.address).await.expect("a connection")),
        }
    }

    /// A client with the API key.
    #[must_use]
    pub fn operator(&self) -> Client {
        self.anonymous().with_api_key(API_KEY)
    }

    /// A client with a fresh access token of this player.
    pub async fn player(&self, player_id: &str) -> Client {
        let token = self.operator().token(player_id).await;
        self.anonymous().with_bearer(&token)
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let status = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status();
        assert!(status.is_ok_and(|s| s.success()), "kill -TERM");
    }

    /// Writes other settings into `.env`, sends SIGHUP, and waits until the log says what came of it. Returns that line.
    pub fn write_settings(&self, text: &str) -> String {
        std::fs::write(self.home().join(".env"), text).expect("a file");
        let told = |log: &str| -> Vec<String> {
            let lines = log.lines().filter(|line| line.contains("settings are "));
            lines.map(ToOwned::to_owned).collect()
        };
        let before = told(&self.log()).len();
        let sent = Command::new("kill").arg("-HUP").arg(self.pid().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -HUP");
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = told(&self.log()).get(before) {
                return line.clone();
            }
            assert!(Instant::now() < end, "SIGHUP was not answered:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for_end(&mut self.child).unwrap_or_else(|| panic!("the server did not end:\n{}", self.log.text()))
    }

    /// Ends the process as a power cut would, and starts another one on the same data.
    #[must_use]
    pub fn crash_and_restart(mut self) -> Self {
        self.child.kill().expect("kill -9");
        self.child.wait().expect("the process ends");
        Self::launch(Arc::clone(&self.home), self.options.clone())
    }

    /// Starts another process on the same data and at the same address. This one must have ended.
    #[must_use]
    pub fn again_in_place(mut self) -> Self {
        let status = self.wait();
        assert!(status.success(), "exit {status}:\n{}", self.log.text());
        let (_, port) = self.address.rsplit_once(':').expect("a port");
        let options = self.options.clone().env("PORT", port);
        Self::launch(Arc::clone(&self.home), options)
    }

    /// Asks the process to stop, waits for it, and starts another one on the same data.
    #[must_use]
    pub fn restart(mut self) -> Self {
        self.terminate();
        let status = self.wait();
        assert!(status.success(), "exit {status}:\n{}", self.log.text());
        Self::launch(Arc::clone(&self.home), self.options.clone())
    }

    /// Starts another one on the same data, after this one has ended.
    #[must_use]
    pub fn start_again(self) -> Self {
        Self::launch(Arc::clone(&self.home), self.options.clone())
    }

    /// Ends the process at once, from any thread, without waiting. For killing in the middle of something.
    pub fn kill_now(pid: u32) {
        Command::new("kill").arg("-KILL").arg(pid.to_string()).status().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- the server said ---\n{}\n---", self.log.text());
        }
    }
}

fn wait_for_end(child: &mut Child) -> Option<ExitStatus> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

/// The address in a line that says `listening on http://ADDRESS`, or `https`.
fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on http")?;
    let (_, rest) = rest.split_once("://")?;
    let address: String = rest
        .chars()
        .take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':'))
        .collect();
    address.contains(':').then_some(address)
}

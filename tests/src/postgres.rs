//! PostgreSQL for tests: a throw-away server of PostgreSQL's own programs on a free port, or the one that `TEST_DATABASE_URL`
//! names (its user may create databases). Each test gets a database of its own, dropped with its handle.
//!
//! A small shell process keeps each server. It holds the other end of a pipe of the test process: when that closes, however the
//! test process ends, it stops the server and removes its folder.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use crate::wait::PATIENCE;

/// The superuser's password on servers that the tests start.
pub const PASSWORD: &str = "throw-away";

/// The keeper of a server; the file says what it understands.
const KEEPER: &str = include_str!("postgres.sh");

const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 400
shared_buffers = 32MB
fsync = off
full_page_writes = off
max_wal_senders = 0
wal_level = minimal
";

/// A fresh database on the server that all tests of this process share.
#[must_use]
pub fn database() -> Database {
    static SHARED: OnceLock<Admin> = OnceLock::new();
    let admin = SHARED.get_or_init(|| match std::env::var("TEST_DATABASE_URL") {
        Ok(url) if !url.trim().is_empty() => Admin::new(url.trim()),
        _ => {
            // Never dropped: the server ends with the process, when the keeper's pipe closes.
            let server = std::mem::ManuallyDrop::new(Postgres::start());
            server.admin.clone()
        }
    });
    admin.database()
}

/// A database; dropped with this handle.
#[derive(Debug)]
pub struct Database {
    url: String,
    name: String,
    admin: Admin,
}

impl Database {
    /// `postgresql://user:password@host:port/name`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name on the server.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs SQL in it as its owner and returns what it says, columns separated by `|`.
    pub fn sql(&self, text: &str) -> String {
        psql(&self.url, text)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server that its test has stopped takes it along.
        let drop = format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name);
        try_psql(&self.admin.url, &drop).ok();
    }
}

/// The right to create databases on a server.
#[derive(Clone, Debug)]
struct Admin {
    url: Arc<str>,
}

impl Admin {
    fn new(url: &str) -> Self {
        Self {
            url: url.replacen("postgresql+asyncpg:", "postgresql:", 1).into(),
        }
    }

    fn database(&self) -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("p2p_test_{}_{number}", std::process::id());
        psql(
            &self.url,
            &format!("CREATE DATABASE \"{name}\" ENCODING 'UTF8' TEMPLATE template0"),
        );
        let mut url = reqwest::Url::parse(&self.url).expect("a URL of a PostgreSQL database");
        url.set_path(&name);
        Database {
            url: url.into(),
            name,
            admin: self.clone(),
        }
    }
}

/// A server of one test alone: to be stopped, killed, paused and started again, on the same port and data.
#[derive(Debug)]
pub struct Postgres {
    keeper: Child,
    pipes: Option<Mutex<(ChildStdin, BufReader<ChildStdout>)>>,
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
    admin: Admin,
}

impl Postgres {
    /// A server with the settings of the tests.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("", &[])
    }

    /// A server with more settings. Files go to the folder above its data, readable by the server alone.
    #[must_use]
    pub fn start_with(settings: &str, files: &[(&str, &[u8])]) -> Self {
        let programs = programs();
        let user = user();
        let folder = tempfile::Builder::new()
            .prefix("p2p-postgres-")
            .tempdir()
            .expect("a temporary folder")
            .keep();
        let own = [
            ("password", PASSWORD.as_bytes()),
            ("more.conf", &[SETTINGS, settings].concat().into_bytes()),
        ];
        for (name, content) in own.iter().chain(files) {
            let path = folder.join(name);
            std::fs::write(&path, content).expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
            give(&path, user.as_ref());
        }
        give(&folder, user.as_ref());
        let mut command = match &user {
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={}", user.uid));
                command.args([&format!("--regid={}", user.gid), "--clear-groups", "sh"]);
                command
            }
            None => Command::new("sh"),
        };
        let mut keeper = command
            .args(["-c", KEEPER, "sh"])
            .args([&folder, &programs])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // What ends the test's process group must not end who cleans up after it.
            .process_group(0)
            .spawn()
            .expect("sh (and setpriv, from util-linux, when run as root)");
        let stdin = keeper.stdin.take().expect("piped");
        let stdout = BufReader::new(keeper.stdout.take().expect("piped"));
        let mut server = Self {
            keeper,
            pipes: Some(Mutex::new((stdin, stdout))),
            folder,
            programs,
            port: 0,
            admin: Admin::new(""),
        };
        assert_eq!(server.tell("init"), "0", "initdb:\n{}", server.log());
        let mut left = 5;
        loop {
            server.port = free_port();
            if server.try_start() {
                break;
            }
            left -= 1;
            assert!(left > 0, "PostgreSQL finds no free port:\n{}", server.log());
        }
        server.admin = Admin::new(&server.url_of("postgres", PASSWORD, "postgres"));
        server
    }

    /// A fresh database on it.
    #[must_use]
    pub fn database(&self) -> Database {
        self.admin.database()
    }

    /// Runs SQL as the superuser.
    pub fn sql(&self, text: &str) -> String {
        psql(&self.admin.url, text)
    }

    /// The URL of one of its databases for one of its users.
    #[must_use]
    pub fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgresql://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Stops it in order (SIGINT): open transactions are ended, all that is committed is on disk.
    pub fn stop(&self) {
        self.tell("stop");
    }

    /// Ends it at once (SIGKILL), every process of it.
    pub fn kill(&self) {
        self.tell("kill");
    }

    /// Starts it again after `stop` or `kill`, and waits until it takes connections.
    pub fn start_again(&self) {
        let end = Instant::now() + PATIENCE;
        // After a kill the system needs a moment to let go of the old one's memory.
        while !self.try_start() {
            assert!(Instant::now() < end, "PostgreSQL does not start:\n{}", self.log());
        }
    }

    /// Halts every process of it (SIGSTOP): connections stay open, and nothing answers.
    pub fn pause(&self) {
        self.tell("pause");
    }

    /// Lets it run on after `pause`.
    pub fn resume(&self) {
        self.tell("resume");
    }

    /// Whether it started; false when something is still, or already, in its place.
    fn try_start(&self) -> bool {
        let logged = self.log().len();
        self.tell(&format!("start {}", self.port));
        let end = Instant::now() + PATIENCE;
        loop {
            let ready = Command::new(self.programs.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status();
            let log = self.log();
            let log = log.get(logged..).unwrap_or_default();
            let in_the_way = [
                "could not create any TCP/IP sockets",
                "pre-existing shared memory",
                "lock file",
            ];
            if in_the_way.iter().any(|text| log.contains(text)) {
                return false;
            }
            if ready.is_ok_and(|status| status.success()) {
                return true;
            }
            assert!(Instant::now() < end, "PostgreSQL does not start:\n{log}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Gives the keeper a command and waits for its answer.
    fn tell(&self, command: &str) -> String {
        let pipes = self.pipes.as_ref().expect("open while the server is there");
        let mut pipes = pipes.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(pipes.0, "{command}").expect("the keeper listens");
        let mut answer = String::new();
        pipes.1.read_line(&mut answer).expect("the keeper answers");
        answer.trim().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.pipes = None;
        self.keeper.wait().ok();
        if std::thread::panicking() {
            eprintln!("PostgreSQL was on port {}", self.port);
        }
    }
}

/// Whom PostgreSQL runs as when the tests run as root, which it refuses.
struct User {
    uid: u32,
    gid: u32,
}

fn user() -> Option<User> {
    use std::os::unix::fs::MetadataExt as _;
    if std::fs::metadata("/proc/self").expect("procfs").uid() != 0 {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let find = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let fields: Vec<&str> = line.split(':').collect();
        Some(User {
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
        })
    };
    Some(
        find("postgres")
            .or_else(|| find("nobody"))
            .expect("a user for PostgreSQL"),
    )
}

fn give(path: &Path, user: Option<&User>) {
    if let Some(user) = user {
        chown(path, Some(user.uid), Some(user.gid)).expect("chown");
    }
}

/// The folder of the newest version's programs, none when there is no server on this machine.
fn newest() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, programs)| programs.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().map(|(_, programs)| programs)
}

fn programs() -> PathBuf {
    newest().expect("PostgreSQL is missing: apt-get install postgresql, or set TEST_DATABASE_URL")
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn psql(url: &str, text: &str) -> String {
    try_psql(url, text).unwrap_or_else(|said| panic!("{text}: {said}"))
}

fn try_psql(url: &str, text: &str) -> Result<String, String> {
    // Debian's own `psql` is a script that looks for this one.
    let program = newest().map_or_else(|| PathBuf::from("psql"), |programs| programs.join("psql"));
    let output = Command::new(program)
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", text, url])
        .env("PGCONNECT_TIMEOUT", "5")
        .stdin(Stdio::null())
        .output()
        .expect("psql is missing: apt-get install postgresql-client");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

//! Real Redis servers for tests: started on a free port, empty and without persistence, stopped, killed, paused, started
//! again. They end with the test process, however that ends. Installs nothing: Debian's package is `redis-server`.

pub mod process;
mod sentinel;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use sentinel::Sentinels;

use crate::certificates::Certificates;
use crate::wait::PATIENCE;

/// Ports of servers: below those that the system gives to outgoing connections, so that none is taken between two starts.
const PORTS: std::ops::Range<u16> = 20_000..29_000;
/// Attempts to find a free port.
const ATTEMPTS: usize = 50;

/// A server. Killed when dropped.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    folder: TempDir,
    arguments: Vec<String>,
    certificates: Option<Certificates>,
    scheme: &'static str,
    process: Option<Child>,
}

static SHARED: Mutex<Weak<Redis>> = Mutex::new(Weak::new());

impl Redis {
    /// A plain server.
    #[must_use]
    pub fn start() -> Self {
        Self::launch("redis", None, |port, folder| {
            let mut arguments = plain(folder);
            arguments.extend(words(&format!("--port {port}")));
            arguments
        })
    }

    /// One server for all tests that keep apart by the names of their keys. Stops with the last test that holds it.
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

    /// A server that speaks TLS alone, with a certificate of an authority that nobody else knows.
    #[must_use]
    pub fn tls() -> Self {
        let certificates = Certificates::new();
        let files = [
            ("--tls-ca-cert-file", certificates.authority()),
            ("--tls-cert-file", certificates.certificate()),
            ("--tls-key-file", certificates.key()),
        ];
        let files = files.map(|(option, file)| [option.to_owned(), text(file)]).concat();
        Self::launch("rediss", Some(certificates), |port, folder| {
            let mut arguments = plain(folder);
            arguments.extend(words(&format!("--port 0 --tls-port {port} --tls-auth-clients no")));
            arguments.extend(files.clone());
            arguments
        })
    }

    /// A cluster of one node that owns every slot.
    #[must_use]
    pub fn cluster() -> Self {
        let server = Self::launch("redis+cluster", None, |port, folder| {
            let mut arguments = plain(folder);
            arguments.extend(words(&format!("--port {port} --cluster-enabled yes")));
            arguments
        });
        server.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        server.wait_for("the cluster", || {
            server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
        });
        server
    }

    fn launch(
        scheme: &'static str,
        certificates: Option<Certificates>,
        arguments: impl Fn(u16, &Path) -> Vec<String>,
    ) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("p2p-redis-")
            .tempdir()
            .expect("a temporary folder");
        let mut server = Self {
            port: 0,
            folder,
            arguments: Vec::new(),
            certificates,
            scheme,
            process: None,
        };
        for _ in 0..ATTEMPTS {
            server.port = free_port();
            server.arguments = arguments(server.port, server.folder.path());
            if server.try_start() {
                return server;
            }
        }
        panic!("redis-server does not start:\n{}", server.log());
    }

    /// False when it ended at once: another process was faster to take the port.
    fn try_start(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(&self.arguments);
        let mut process = process::spawn(command, "redis-server", "redis-server");
        let end = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(_)) = process.try_wait() {
                return false;
            }
            if self.answers() {
                self.process = Some(process);
                return true;
            }
            assert!(Instant::now() < end, "redis-server does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it takes commands. With TLS: whether it takes connections.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else {
            return false;
        };
        if self.certificates.is_some() {
            return true;
        }
        let mut answer = [0; 5];
        let asked =
            stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok() && stream.write_all(b"PING\r\n").is_ok();
        asked && stream.read_exact(&mut answer).is_ok() && answer == *b"+PONG"
    }

    /// Its `REDIS_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = format!("{}://127.0.0.1:{}/0", self.scheme, self.port);
        if let Some(certificates) = &self.certificates {
            url.push_str("?ca=");
            url.push_str(certificates.authority().to_str().expect("a path in UTF-8"));
        }
        url
    }

    /// The port, which stays the same over a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process's number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    /// Asks it to end, and waits.
    pub fn terminate(&mut self) {
        self.signal("TERM");
        self.process.take().map(|mut process| process.wait());
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        // A paused process dies of this signal too.
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }

    /// Starts it again on the same port, empty, after `terminate` or `kill`.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the server still runs");
        let end = Instant::now() + PATIENCE;
        while !self.try_start() {
            assert!(
                Instant::now() < end,
                "redis-server does not start again:\n{}",
                self.log()
            );
        }
    }

    /// Stops its time: connections stay open, and nothing is answered.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// What `redis-cli` answers.
    #[must_use]
    pub fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if let Some(certificates) = &self.certificates {
            command.arg("--tls").arg("--cacert").arg(certificates.authority());
        }
        let output = command
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Sends a command that must not fail.
    pub fn cli(&self, words: &[&str]) -> String {
        let answer = self.ask(words);
        assert!(
            !answer.starts_with("ERR") && !answer.contains("Could not connect"),
            "{words:?}: {answer}"
        );
        answer
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn wait_for(&self, what: &str, ready: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !ready() {
            assert!(Instant::now() < end, "{what} did not come up:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- redis-server said ---\n{}\n---", self.log());
        }
    }
}

/// Arguments of every server: here alone, nothing on disk, a log for the case that it fails.
fn plain(folder: &Path) -> Vec<String> {
    let mut arguments = words("--bind 127.0.0.1 --appendonly no --daemonize no --repl-diskless-sync-delay 0");
    arguments.extend(["--save".to_owned(), String::new()]);
    for (name, path) in [("--dir", folder.to_path_buf()), ("--logfile", folder.join("log"))] {
        arguments.extend([name.to_owned(), text(path)]);
    }
    arguments
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("a path in UTF-8")
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 9000).unwrap_or_default();
    for _ in PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + start.wrapping_mul(7).wrapping_add(step) % (PORTS.end - PORTS.start);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {} to {}", PORTS.start, PORTS.end);
}

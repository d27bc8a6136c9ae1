//! A real nginx with the site of `deploy/nginx`, on a free port, in front of servers under test. Ends with the test process.
//! Installs nothing: Debian's package is `nginx`.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::redis::process;
use crate::server::Server;
use crate::wait::PATIENCE;

const SITE: &str = include_str!("../../deploy/nginx/p2p-coordinator");

/// A running nginx. Killed when dropped.
#[derive(Debug)]
pub struct Nginx {
    folder: TempDir,
    address: String,
    process: Child,
}

impl Nginx {
    /// In front of these servers.
    #[must_use]
    pub fn start(servers: &[&Server]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("p2p-nginx-")
            .tempdir()
            .expect("a temporary folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        std::fs::write(folder.path().join("site"), site(folder.path(), &address, servers)).expect("a file");
        let own = folder.path().display();
        let config = format!(
            "daemon off; master_process off; pid {own}/pid; error_log {own}/error.log; events {{ worker_connections 512; }}
             http {{ client_body_temp_path {own}/body; proxy_temp_path {own}/proxy; fastcgi_temp_path {own}/fastcgi;
                     uwsgi_temp_path {own}/uwsgi; scgi_temp_path {own}/scgi; include {own}/site; }}"
        );
        let path = folder.path().join("nginx.conf");
        std::fs::write(&path, config).expect("a file");
        let mut command = Command::new("nginx");
        command
            .arg("-c")
            .arg(&path)
            .arg("-e")
            .arg(folder.path().join("error.log"));
        drop(listener);
        let mut nginx = Self {
            process: process::spawn(command, "nginx", "nginx"),
            folder,
            address,
        };
        nginx.wait();
        nginx
    }

    fn wait(&mut self) {
        let end = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(&self.address).is_err() {
            let ended = self.process.try_wait().ok().flatten();
            assert!(
                ended.is_none() && Instant::now() < end,
                "nginx does not start:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        [
            read("error.log"),
            read("p2p-coordinator.error.log"),
            read("p2p-coordinator.access.log"),
        ]
        .concat()
    }
}

/// The site with another port, other servers, and logs elsewhere. Each change must find its place.
fn site(folder: &Path, address: &str, servers: &[&Server]) -> String {
    let nodes: Vec<String> = servers
        .iter()
        .map(|server| format!("server {} max_fails=1 fail_timeout=5s;", server.address()))
        .collect();
    let changes = [
        ("server 127.0.0.1:8001 max_fails=1 fail_timeout=5s;", nodes.join(" ")),
        ("listen 80;", format!("listen {address};")),
        ("listen [::]:80;", String::new()),
        ("/var/log/nginx/", format!("{}/", folder.display())),
    ];
    changes.iter().fold(SITE.to_owned(), |site, (from, to)| {
        assert!(site.contains(from), "the site has no {from:?} any more");
        site.replace(from, to)
    })
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- nginx said ---\n{}\n---", self.log());
        }
    }
}

//! Headless Chromium, driven over the WebDriver protocol. One driver, any number of separate browsers.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::http;

const FLAGS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-breakpad",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
];

/// A running chromedriver. It and its browsers end when it is dropped.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    base: String,
    http: reqwest::Client,
}

impl Driver {
    /// Starts chromedriver on a free port.
    #[must_use]
    pub fn start() -> Self {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts; on Debian: apt-get install chromium chromium-driver");
        let stdout = child.stdout.take().expect("its output");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let port = lines
            .find_map(|line| {
                let (_, rest) = line.split_once("started successfully on port ")?;
                Some(rest.trim_end_matches('.').to_owned())
            })
            .expect("chromedriver says its port");
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            base: format!("http://127.0.0.1:{port}"),
            http: http(),
        }
    }

    /// Opens a browser with a profile of its own.
    pub async fn browser(&self) -> Browser {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut arguments: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let mut options = json!({ "args": arguments });
        if Path::new("/usr/bin/chromium").exists() {
            options["binary"] = json!("/usr/bin/chromium");
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let opened = call(&self.http, &format!("{}/session", self.base), &wanted).await;
        let id = opened["sessionId"].as_str().expect("a session").to_owned();
        let browser = Browser {
            http: self.http.clone(),
            url: format!("{}/session/{id}", self.base),
            _profile: profile,
        };
        browser.command("timeouts", &json!({ "script": 60_000 })).await;
        browser
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The browsers are in the driver's process group.
        let group = format!("-{}", self.child.id());
        Command::new("kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status()
            .ok();
        self.child.wait().ok();
    }
}

/// One browser with one page.
#[derive(Debug)]
pub struct Browser {
    http: reqwest::Client,
    url: String,
    _profile: TempDir,
}

impl Browser {
    /// Loads a page.
    pub async fn open(&self, url: &str) {
        self.command("url", &json!({ "url": url })).await;
    }

    /// Calls an async function of the page with these arguments and returns what it returns.
    pub async fn call(&self, function: &str, arguments: &Value) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             {function}(...arguments[0]).then(v => done({{ok: v}}), e => done({{error: String(e && e.stack || e)}}));"
        );
        let answer = self
            .command("execute/async", &json!({ "script": script, "args": [arguments] }))
            .await;
        assert!(
            answer.get("error").is_none(),
            "{function}: {}",
            answer["error"].as_str().unwrap_or_default()
        );
        answer["ok"].clone()
    }

    /// Ends the browser.
    pub async fn quit(self) {
        self.http.delete(&self.url).send().await.ok();
    }

    async fn command(&self, name: &str, body: &Value) -> Value {
        call(&self.http, &format!("{}/{name}", self.url), body).await
    }
}

async fn call(http: &reqwest::Client, url: &str, body: &Value) -> Value {
    let request = http.post(url).timeout(std::time::Duration::from_secs(90)).json(body);
    let response = request.send().await.unwrap_or_else(|e| panic!("{url}: {e}"));
    let status = response.status();
    let answer: Value = response.json().await.unwrap_or_else(|e| panic!("{url}: {e}"));
    assert!(status.is_success(), "{url}: {status}: {}", answer["value"]["message"]);
    answer["value"].clone()
}

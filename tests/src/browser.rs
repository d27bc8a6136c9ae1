//! Headless Chromium, driven over the WebDriver protocol. One driver, any number of separate browsers.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::http;
use crate::wait::eventually;

/// What WebDriver calls an element by.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

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
        let logs = json!({ "browser": "ALL", "performance": "ALL" });
        // Servers of the tests that speak HTTPS have an authority of their own.
        let always = json!({ "acceptInsecureCerts": true, "goog:chromeOptions": options, "goog:loggingPrefs": logs });
        let wanted = json!({ "capabilities": { "alwaysMatch": always } });
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

    /// Runs a script in the page and returns what it returns.
    pub async fn run(&self, script: &str, arguments: &Value) -> Value {
        let body = json!({ "script": script, "args": arguments });
        self.command("execute/sync", &body).await
    }

    /// The first element that matches the XPath and is shown, waited for.
    async fn element(&self, xpath: &str) -> String {
        eventually(&format!("an element {xpath}"), || async {
            let found = self
                .command("elements", &json!({ "using": "xpath", "value": xpath }))
                .await;
            for element in found.as_array().expect("a list") {
                let id = element[ELEMENT].as_str().expect("an element").to_owned();
                if self.ask(&format!("element/{id}/displayed")).await == Some(json!(true)) {
                    return Some(id);
                }
            }
            None
        })
        .await
    }

    /// Waits until an element that matches the XPath is shown.
    pub async fn sees(&self, xpath: &str) {
        self.element(xpath).await;
    }

    /// Waits until the page's text has this in it.
    pub async fn reads(&self, wanted: &str) {
        eventually(&format!("the text {wanted:?}"), || async {
            let text = self.run("return document.body.innerText", &json!([])).await;
            text.as_str().is_some_and(|text| text.contains(wanted)).then_some(())
        })
        .await;
    }

    /// Clicks, as a person would: what cannot be seen cannot be clicked. An element that is just being replaced is looked for anew.
    pub async fn click(&self, xpath: &str) {
        eventually(&format!("a click on {xpath}"), || async {
            let id = self.element(xpath).await;
            let url = format!("{}/element/{id}/click", self.url);
            try_call(&self.http, &url, &json!({})).await.ok()
        })
        .await;
    }

    /// Types into a field; for one of files, the path of the file.
    pub async fn type_into(&self, xpath: &str, text: &str) {
        let found = self
            .command("element", &json!({ "using": "xpath", "value": xpath }))
            .await;
        let id = found[ELEMENT].as_str().expect("an element");
        self.command(&format!("element/{id}/value"), &json!({ "text": text }))
            .await;
    }

    /// Presses keys, wherever the focus is. Tab is `\u{E004}`, enter `\u{E007}`.
    pub async fn press(&self, keys: &str) {
        let steps: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keys", "actions": steps }] });
        self.command("actions", &body).await;
    }

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.command("goog/cdp/execute", &body).await
    }

    /// What the page wrote to its console since the last time, with what the browser complained of.
    pub async fn console(&self) -> Vec<Value> {
        self.log("browser").await
    }

    /// The addresses that the page asked for since the last time.
    pub async fn requests(&self) -> Vec<String> {
        let entries = self.log("performance").await;
        let messages = entries
            .iter()
            .filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok());
        messages
            .filter(|message| message["message"]["method"] == "Network.requestWillBeSent")
            // The browser's own page, before any other was opened.
            .filter(|message| {
                let page = message["message"]["params"]["documentURL"].as_str();
                page.is_some_and(|page| page.starts_with("http"))
            })
            .filter_map(|message| Some(message["message"]["params"]["request"]["url"].as_str()?.to_owned()))
            .collect()
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.command("se/log", &json!({ "type": kind })).await;
        entries.as_array().expect("a list").clone()
    }

    async fn ask(&self, name: &str) -> Option<Value> {
        let response = self.http.get(format!("{}/{name}", self.url)).send().await.ok()?;
        let answer: Value = response.json().await.ok()?;
        Some(answer["value"].clone())
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
    try_call(http, url, body)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

async fn try_call(http: &reqwest::Client, url: &str, body: &Value) -> Result<Value, String> {
    let request = http.post(url).timeout(std::time::Duration::from_secs(90)).json(body);
    let response = request.send().await.unwrap_or_else(|e| panic!("{url}: {e}"));
    let status = response.status();
    let answer: Value = response.json().await.unwrap_or_else(|e| panic!("{url}: {e}"));
    if status.is_success() {
        Ok(answer["value"].clone())
    } else {
        Err(format!("{url}: {status}: {}", answer["value"]["message"]))
    }
}

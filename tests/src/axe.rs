//! axe-core, which finds what keeps people out of a page. Its package is fetched from npm once and kept beside the build.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::server::program;

const VERSION: &str = "4.14.1";

/// Fails when the page has a serious or critical flaw. `page` is for the message.
pub async fn finds_nothing_serious(browser: &Browser, page: &str) {
    browser
        .devtools("Runtime.evaluate", &json!({ "expression": source() }))
        .await;
    let found = browser.call("axe.run", &json!([])).await;
    let bad: Vec<String> = found["violations"]
        .as_array()
        .expect("violations")
        .iter()
        .filter(|flaw| matches!(flaw["impact"].as_str(), Some("serious" | "critical")))
        .map(described)
        .collect();
    assert!(bad.is_empty(), "{page}: {}", bad.join("\n"));
}

fn described(flaw: &Value) -> String {
    let nodes = flaw["nodes"].as_array().expect("nodes");
    let where_: Vec<String> = nodes
        .iter()
        .map(|node| format!("{} {}", node["html"], node["failureSummary"]))
        .collect();
    format!("{}: {}: {}", flaw["id"], flaw["help"], where_.join("\n  "))
}

fn source() -> &'static str {
    static SOURCE: OnceLock<String> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let folder = folder();
        let file = folder.join("node_modules/axe-core/axe.min.js");
        if !file.exists() {
            std::fs::create_dir_all(&folder).expect("a folder");
            let status = Command::new("npm")
                .args([
                    "install",
                    "--no-save",
                    "--no-audit",
                    "--no-fund",
                    "--ignore-scripts",
                    "--silent",
                ])
                .arg("--prefix")
                .arg(&folder)
                .arg(format!("axe-core@{VERSION}"))
                .status();
            assert!(
                status.is_ok_and(|status| status.success()),
                "npm fetches axe-core; on Debian: apt-get install npm"
            );
        }
        std::fs::read_to_string(file).expect("axe-core")
    })
}

/// Beside the program, a folder per version.
fn folder() -> PathBuf {
    program()
        .with_file_name("test-tools")
        .join(format!("axe-core-{VERSION}"))
}

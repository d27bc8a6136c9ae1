//! How far long work is: shown to a person at a terminal, and to nobody else. The terminal is one of `script`.

use std::path::Path;
use std::process::Command;

use p2p_coordinator_tests::server::{API_KEY, JWT_SECRET, program};
use serde_json::Value;

use crate::policies::bundled;

/// What stands on a terminal of the kind `term` in the course of a command, control characters included, and what the command
/// writes to its standard output, which is a file.
fn at_a_terminal(home: &Path, term: &str, arguments: &str) -> (String, String) {
    let command = format!("{} {arguments} > stdout", program().display());
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", term)
        .env("DATA_DIR", home.join("data"))
        .env("PLUGIN_TOOLS_DIR", home.join("tools"))
        .env("AI_SERVICE_ENABLED", "false")
        .env("PORT", "0")
        .env("JWT_SECRET_KEY", JWT_SECRET)
        .env("COORDINATOR_API_KEY", API_KEY)
        .current_dir(home)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("script, of Debian's bsdutils, is installed");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let written = std::fs::read_to_string(home.join("stdout")).unwrap();
    assert!(output.status.success(), "{arguments}: {shown}{written}");
    (shown, written)
}

/// The screen is as it was before: the last thing is that the line is cleared.
#[track_caller]
fn is_cleared(shown: &str) {
    assert!(shown.trim_end_matches('\r').ends_with("\x1b[2K"), "{shown:?}");
}

#[test]
fn a_terminal_sees_the_bar_of_a_copy_and_standard_output_the_answer() {
    let home = tempfile::tempdir().unwrap();
    let (shown, written) = at_a_terminal(home.path(), "xterm", "migrate");
    assert!(shown.contains("bringing the schema up to date"), "{shown:?}");
    is_cleared(&shown);
    assert!(
        written.contains("ran now") && written.lines().count() == 1,
        "{written:?}"
    );
    for command in ["backup -o copy.db", "restore --force copy.db"] {
        let (shown, written) = at_a_terminal(home.path(), "xterm", command);
        for text in ["[", "] 0 B/", "KiB", "left writing the copy", "checking the copy"] {
            assert!(shown.contains(text), "{command}: {text}: {shown:?}");
        }
        is_cleared(&shown);
        assert!(!written.contains(|c: char| c.is_control() && c != '\n'), "{written:?}");
        assert_eq!(written.lines().count(), 1, "{written:?}");
    }
}

#[test]
fn a_terminal_sees_how_far_checks_and_policies_are() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("limits.wasm"), bundled("rate-limit")).unwrap();
    std::fs::write(home.path().join("log.jsonl"), "no decision\n").unwrap();
    let (shown, written) = at_a_terminal(home.path(), "xterm", "doctor");
    assert!(shown.contains("] 0/") && shown.contains("looking at"), "{shown:?}");
    assert!(written.contains("port"), "{written:?}");
    let (shown, _) = at_a_terminal(home.path(), "xterm", "plugin test limits.wasm");
    assert!(
        shown.contains("compiling the component") && shown.contains("golden vectors"),
        "{shown:?}"
    );
    is_cleared(&shown);
    let replay = "plugin replay limits.wasm log.jsonl --min-decisions 0";
    let (shown, _) = at_a_terminal(home.path(), "xterm", replay);
    assert!(
        shown.contains("] 0 B/12 B") && shown.contains("asking the decisions again"),
        "{shown:?}"
    );
    is_cleared(&shown);
}

#[test]
fn nothing_is_shown_for_a_program_or_on_a_terminal_that_cannot() {
    let home = tempfile::tempdir().unwrap();
    for (term, command) in [
        ("xterm", "migrate --json"),
        ("xterm", "backup -o copy.db --json"),
        ("xterm", "doctor --json"),
        ("dumb", "backup -o other.db"),
        ("dumb", "doctor"),
    ] {
        let (shown, written) = at_a_terminal(home.path(), term, command);
        assert_eq!(shown, "", "{command}");
        if command.ends_with("--json") {
            assert!(serde_json::from_str::<Value>(&written).is_ok(), "{command}: {written}");
        }
    }
}

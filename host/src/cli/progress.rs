//! How far long work is, on standard error, for people at a terminal alone: a bar where the end is known, else a spinner with the
//! time it has taken. It is gone when the work is done. Never touches standard output, and decides nothing.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(120);
/// The last part is cut at the width of the terminal.
const SPINNER: &str = "{spinner} {elapsed} {wide_msg}";
const COUNT: &str = "[{bar:25}] {pos}/{len} {elapsed} {wide_msg}";
const BYTES: &str = "[{bar:25}] {binary_bytes}/{binary_total_bytes} {eta} left {wide_msg}";

/// The line that shows how far work is. Nothing is drawn before its first step, and its drop clears it: drop it before an answer
/// is printed.
#[derive(Debug)]
pub(super) struct Progress {
    drawn: bool,
    line: Option<Line>,
}

/// What is drawn now.
#[derive(Debug)]
struct Line {
    template: &'static str,
    what: String,
    bar: ProgressBar,
}

impl Progress {
    /// `wanted` is false where the answer is for a program. Without a terminal, nothing is drawn either.
    pub(super) fn new(wanted: bool) -> Self {
        let able = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        Self {
            drawn: wanted && able && std::io::stderr().is_terminal(),
            line: None,
        }
    }

    /// Now this is done; nobody knows how long it takes.
    pub(super) fn step(&mut self, what: &str) {
        self.show(SPINNER, what, None);
    }

    /// `done` of `whole` parts are done, and this is next.
    pub(super) fn count(&mut self, what: &str, done: u64, whole: u64) {
        self.show(COUNT, what, Some((done, whole)));
    }

    /// Now this is done; `done` of `whole` bytes are.
    pub(super) fn bytes(&mut self, what: &str, done: u64, whole: u64) {
        self.show(BYTES, what, Some((done, whole)));
    }

    /// A line that stays, whether there is a terminal or not.
    pub(super) fn say(&self, line: &str) {
        match &self.line {
            Some(Line { bar, .. }) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Nothing is drawn until the next step: somebody else writes to the terminal.
    pub(super) fn rest(&mut self) {
        if let Some(Line { bar, .. }) = self.line.take() {
            bar.disable_steady_tick();
            bar.finish_and_clear();
        }
    }

    fn show(&mut self, template: &'static str, what: &str, reached: Option<(u64, u64)>) {
        if !self.drawn {
            return;
        }
        // One count goes on through all its parts; any other work begins its own time.
        let goes_on = self
            .line
            .as_ref()
            .is_some_and(|line| line.template == template && (template == COUNT || line.what == what));
        if !goes_on {
            self.rest();
        }
        match &mut self.line {
            Some(line) => {
                if let Some((done, whole)) = reached {
                    line.bar.set_length(whole);
                    line.bar.set_position(done.min(whole));
                }
                if line.what != what {
                    what.clone_into(&mut line.what);
                    line.bar.set_message(line.what.clone());
                }
            }
            None => {
                let bar = bar(template, what, reached);
                // At once: the work may be over before the first turn.
                bar.force_draw();
                bar.enable_steady_tick(TURN);
                self.line = Some(Line {
                    template,
                    what: what.to_owned(),
                    bar,
                });
            }
        }
    }
}

fn bar(template: &str, what: &str, reached: Option<(u64, u64)>) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    let (done, whole) = reached.unzip();
    ProgressBar::with_draw_target(whole, ProgressDrawTarget::stderr())
        .with_style(style.progress_chars("=> ").tick_chars("|/-\\ "))
        .with_position(done.unwrap_or(0))
        .with_message(what.to_owned())
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_sound() {
        for template in [SPINNER, COUNT, BYTES] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn nothing_is_drawn_for_a_program() {
        let mut progress = Progress::new(false);
        progress.step("waiting");
        progress.bytes("writing", 1, 2);
        assert!(progress.line.is_none());
    }
}

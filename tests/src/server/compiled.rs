//! Compiled policies, handed from one server of the tests to the next.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::program;

/// Where the compiled policies of this very program are kept between servers: an unoptimised build compiles for seconds.
fn compiled() -> PathBuf {
    let program = program();
    let metadata = std::fs::metadata(&program).expect("the program is there");
    let modified = metadata
        .modified()
        .ok()
        .and_then(|m| m.duration_since(std::time::UNIX_EPOCH).ok());
    let age = modified.unwrap_or_default().as_millis();
    program
        .with_file_name("black-box-compiled")
        .join(format!("{}-{age}", metadata.len()))
}

static COMPILED: Mutex<()> = Mutex::new(());

/// Gives a fresh data folder the compiled policies of an earlier server.
pub(super) fn warm_up(folder: &Path) {
    let _one_at_a_time = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if compiled().is_dir() && !folder.exists() {
        copy(&compiled(), folder);
    }
}

/// Keeps the compiled policies of the first server.
pub(super) fn keep_warm(folder: &Path) {
    let _one_at_a_time = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = compiled();
    if !kept.is_dir() && folder.is_dir() {
        std::fs::remove_dir_all(kept.with_file_name("")).ok();
        copy(folder, &kept);
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a file");
    }
}

//! Tells cargo that the embedded migrations changed when a file is added to or removed from their folder.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../migrations/sqlite");
    println!("cargo::rerun-if-changed=../migrations/postgres");
}

//! Finds a Rust toolchain that compiles for WebAssembly: rustup's target where it is installed, else Debian's compiler
//! with the standard library's sources and the linker of rustup's toolchain. Installs nothing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of every policy: no system interface at all, so nothing to grant.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's packages `rustc-web`, `cargo-web` and `rust-web-src` install here.
const DEBIAN: &str = "/usr/bin";

/// No toolchain for WebAssembly.
#[derive(Debug, thiserror::Error)]
#[error(
    "no Rust compiler for {TARGET} is installed. Install one of the two:\n  rustup target add {TARGET}\n  apt-get install \
     rustc-web cargo-web rust-web-src   (Debian; {missing})"
)]
pub struct ToolchainError {
    missing: String,
}

/// A usable toolchain.
#[derive(Clone, Debug)]
pub struct Toolchain {
    cargo: PathBuf,
    version: String,
    /// The linker of the Debian toolchain, none for rustup's.
    debian_linker: Option<PathBuf>,
}

impl Toolchain {
    /// Looks for a toolchain, as it is chosen in the folder `dir`.
    ///
    /// # Errors
    ///
    /// Says what to install.
    pub fn find(dir: &Path) -> Result<Self, ToolchainError> {
        if let Some(library) = answer("rustc", dir, ["--print", "target-libdir", "--target", TARGET])
            && Path::new(&library).is_dir()
        {
            return Ok(Self {
                cargo: PathBuf::from("cargo"),
                version: answer("rustc", dir, ["--version"]).unwrap_or_default(),
                debian_linker: None,
            });
        }
        Self::debian(dir).map_err(|missing| ToolchainError { missing })
    }

    /// One that compiles nothing for WebAssembly, for what fails before that.
    #[cfg(test)]
    pub(super) fn of_cargo(cargo: &str) -> Self {
        Self {
            cargo: PathBuf::from(cargo),
            version: String::new(),
            debian_linker: None,
        }
    }

    fn debian(dir: &Path) -> Result<Self, String> {
        let bin = Path::new(DEBIAN);
        let cargo = bin.join("cargo");
        if !cargo.is_file() {
            return Err(format!("{} is missing", cargo.display()));
        }
        let rustc = bin.join("rustc");
        let sysroot =
            answer(&rustc, dir, ["--print", "sysroot"]).ok_or_else(|| format!("{} is missing", rustc.display()))?;
        let std = Path::new(&sysroot).join("lib/rustlib/src/rust/library/std");
        if !std.is_dir() {
            return Err(format!("{} is missing", std.display()));
        }
        let linker = linker(dir, &sysroot)
            .ok_or("a linker is missing: rust-lld of rustup's toolchain, or wasm-ld of the package lld")?;
        Ok(Self {
            cargo,
            version: answer(&rustc, dir, ["--version"]).unwrap_or_default(),
            debian_linker: Some(linker),
        })
    }

    /// The compiler, as it names itself.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A cargo command whose environment gives the same bytes in any folder. Standard input stays closed.
    #[must_use]
    pub fn cargo(&self, verb: &str) -> Command {
        let mut cargo = Command::new(&self.cargo);
        cargo.arg(verb).stdin(std::process::Stdio::null());
        for other in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_TARGET_DIR",
        ] {
            cargo.env_remove(other);
        }
        cargo
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
            .env("CARGO_PROFILE_RELEASE_LTO", "fat")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
            .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
            .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
            // Paths of this machine stay out of the component. Cargo still calls that unstable.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_UNSTABLE_TRIM_PATHS", "true")
            .env("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all");
        if let Some(linker) = &self.debian_linker {
            for other in [
                "RUSTC",
                "RUSTC_WRAPPER",
                "RUSTC_WORKSPACE_WRAPPER",
                "RUSTUP_TOOLCHAIN",
                "CARGO",
            ] {
                cargo.env_remove(other);
            }
            cargo
                .env("PATH", format!("{DEBIAN}:/bin"))
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        cargo
    }

    /// What `cargo build` needs besides.
    #[must_use]
    pub fn build_flags(&self) -> Vec<&'static str> {
        let mut flags = vec!["--target", TARGET];
        if self.debian_linker.is_some() {
            flags.push("-Zbuild-std=std,panic_abort");
        }
        flags
    }
}

/// `rust-lld` of either toolchain, or `wasm-ld` of the package `lld`.
fn linker(dir: &Path, debian_sysroot: &str) -> Option<PathBuf> {
    let rustup_sysroot = answer("rustc", dir, ["--print", "sysroot"]);
    let about = answer("rustc", dir, ["-vV"]);
    let platform = about
        .as_deref()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("host: ")));
    let roots = [rustup_sysroot, Some(debian_sysroot.to_owned())].into_iter().flatten();
    let lld = platform.and_then(|platform| {
        roots
            .map(|root| Path::new(&root).join("lib/rustlib").join(platform).join("bin/rust-lld"))
            .find(|path| path.is_file())
    });
    lld.or_else(|| Some(Path::new(DEBIAN).join("wasm-ld")).filter(|path| path.is_file()))
}

/// What a command prints, none when it fails.
fn answer<const N: usize>(program: impl AsRef<OsStr>, dir: &Path, arguments: [&str; N]) -> Option<String> {
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(dir).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

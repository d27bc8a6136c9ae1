//! WASI for components whose toolchain insists on it. It is there and grants nothing: no files, no network, no
//! environment; output is dropped, and nothing can be waited for.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::DynPollable;

/// The interface that waits. The version is the one that is linked; older ones of 0.2 find it too.
const POLL: &str = "wasi:io/poll@0.2.12";

/// The WASI packages that are linked.
const PACKAGES: [&str; 6] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// Whether an import is of WASI 0.2 as far as it is linked.
#[must_use]
pub fn is_known(name: &str) -> bool {
    PACKAGES.iter().any(|package| name.starts_with(package))
        && name
            .split_once('@')
            .is_some_and(|(_, version)| version.starts_with("0.2."))
}

/// Provides WASI 0.2, without any way to wait: a deadline ends a guest, not the host that waits for it.
///
/// # Errors
///
/// When an import is provided twice.
pub fn link<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    let mut poll = linker.instance(POLL)?;
    poll.func_wrap(
        "poll",
        |_, (_,): (Vec<Resource<DynPollable>>,)| -> wasmtime::Result<(Vec<u32>,)> { Err(waiting()) },
    )?;
    poll.func_wrap(
        "[method]pollable.block",
        |_, (_,): (Resource<DynPollable>,)| -> wasmtime::Result<()> { Err(waiting()) },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn waiting() -> wasmtime::Error {
    wasmtime::Error::msg("a policy cannot wait")
}

//! WASI for components whose toolchain insists on it. It is there and grants nothing: no files, no network, no
//! environment, no time and no chance; output is dropped, and nothing can be waited for.

use std::time::Duration;

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiView};

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

/// Every random byte. One and the same, so that no answer depends on how many were drawn before.
const RANDOM: u8 = 0x5a;

/// What a guest gets by WASI: clocks that stand still and random numbers that are always the same. A policy is a pure
/// function, whatever its toolchain imports.
#[must_use]
pub fn nothing() -> WasiCtx {
    WasiCtx::builder()
        .allow_tcp(false)
        .allow_udp(false)
        .wall_clock(Standing)
        .monotonic_clock(Standing)
        .secure_random(Deterministic::new(vec![RANDOM]))
        .insecure_random(Deterministic::new(vec![RANDOM]))
        .insecure_random_seed(u128::from(RANDOM))
        .build()
}

/// A clock that always shows the beginning of its time.
struct Standing;

impl HostWallClock for Standing {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Standing {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        0
    }
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

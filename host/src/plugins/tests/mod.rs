//! The runtime against real components: the bundled ones, and guests that misbehave as they are told.

mod delivery;
mod hostile;
mod loading;
mod reload;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::Cache;
use super::engine::PolicyEngine;
use super::failure::{FailureKind, Refusal};
use super::instance::Source;
use super::loader::Loader;
use super::slot::Slot;
use super::worlds::World;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/dist")
        .join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The same component with another behaviour written into it.
fn behaving(mut bytes: Vec<u8>, behaviour: &str) -> Vec<u8> {
    const MARK: &[u8] = b"POLICY_FIXTURE=";
    let at = bytes.windows(MARK.len()).position(|window| window == MARK).unwrap() + MARK.len();
    bytes[at..at + 49].copy_from_slice(format!("{behaviour:<49}").as_bytes());
    bytes
}

fn loader(data_dir: Option<&Path>) -> Loader {
    Loader {
        engine: PolicyEngine::start().unwrap(),
        cache: data_dir.map(|dir| Cache::open(dir).unwrap()),
        settings: Arc::new([]),
        trial: true,
    }
}

pub(super) fn empty_slot<W: World>() -> Arc<Slot<W>> {
    let options = prometheus::HistogramOpts::new("call_seconds", "Time of calls.");
    Arc::new(Slot::new(4, prometheus::Histogram::with_opts(options).unwrap()))
}

fn load<W: World>(slot: &Slot<W>, loader: &Loader, bytes: &[u8]) -> Result<(), Refusal> {
    let (release, instance) = loader.load::<W>(Source::File(PathBuf::from("test.wasm")), bytes, &mut |_| {})?;
    slot.install(release, Some(instance));
    Ok(())
}

fn failures<W: World>(slot: &Slot<W>, kind: FailureKind) -> u64 {
    slot.counts().failures[kind as usize]
}

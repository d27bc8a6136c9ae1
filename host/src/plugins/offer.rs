//! Offers policies to slots, whatever their world: the one place where the watcher and the start meet the typed slots.

use std::path::Path;

use super::failure::Refusal;
use super::instance::Source;
use super::loader::{self, Loader};
use super::report::SlotReport;
use super::slot::{Counts, Slot};
use super::slot_name::SlotName;
use super::worlds::World;

/// A slot without the type of its world.
pub trait AnySlot: Send + Sync {
    /// Its name.
    fn name(&self) -> SlotName;

    /// Loads the bundled policy into the slot, unless it is there.
    fn offer_bundled(&self, loader: &Loader);

    /// Loads a file into the slot, unless the same bytes are there. False when it was refused: what served goes on serving.
    fn offer_file(&self, loader: &Loader, path: &Path) -> bool;

    /// Whether there is no policy in the slot.
    fn is_empty(&self) -> bool;

    /// Whether a failing policy is not called at the moment.
    fn is_held_back(&self) -> bool;

    /// What was counted.
    fn counts(&self) -> Counts;

    /// What operators see.
    fn report(&self) -> SlotReport;
}

impl<W: World> AnySlot for Slot<W> {
    fn name(&self) -> SlotName {
        W::SLOT
    }

    fn offer_bundled(&self, loader: &Loader) {
        if let Err(refusal) = offer(self, loader, Source::Bundled, W::SLOT.bundled()) {
            self.refuse(Source::Bundled, refusal);
        }
    }

    fn offer_file(&self, loader: &Loader, path: &Path) -> bool {
        let source = Source::File(path.to_owned());
        match loader::read(path).and_then(|bytes| offer(self, loader, source.clone(), &bytes)) {
            Ok(()) => true,
            Err(refusal) => {
                self.refuse(source, refusal);
                false
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.current().is_none()
    }

    fn is_held_back(&self) -> bool {
        self.current().is_some_and(|release| release.breaker.is_open())
    }

    fn counts(&self) -> Counts {
        self.counts()
    }

    fn report(&self) -> SlotReport {
        SlotReport::of(self)
    }
}

fn offer<W: World>(slot: &Slot<W>, loader: &Loader, source: Source, bytes: &[u8]) -> Result<(), Refusal> {
    let digest = loader::digest(bytes);
    if slot
        .current()
        .is_some_and(|release| release.about.digest == digest && release.about.source == source)
    {
        return Ok(());
    }
    let (release, instance) = loader.load::<W>(source, bytes, &mut |_| {})?;
    let about = &release.about;
    tracing::info!(slot = W::SLOT.as_str(), source = %about.source.shown(), digest = %about.digest,
        name = %about.description.name, version = %about.description.version, "policy loaded");
    slot.install(release, Some(instance));
    Ok(())
}

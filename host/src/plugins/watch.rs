//! Watches the policy folder. Events only say when to look: what counts is the size, time and number of the three files
//! the slots are named after, so temporary files of editors and copies under other names are never read. A file that is
//! still being written is read when it stops changing; a refused one is read again when it changes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use anyhow::Context as _;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::PluginRuntime;
use super::limits;
use super::slot_name::SlotName;

/// The watcher of one folder. Dropping it ends the watching.
pub struct Watch {
    /// Ends the thread when it is dropped.
    signals: Option<SyncSender<Signal>>,
    watcher: Option<RecommendedWatcher>,
    thread: Option<JoinHandle<()>>,
}

enum Signal {
    Changed,
    Stop,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    bytes: u64,
    modified: Option<SystemTime>,
    number: u64,
}

impl Mark {
    /// None when there is no such file.
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some(Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            number: metadata.ino(),
        })
    }
}

/// Makes the folder when it is not there.
///
/// # Errors
///
/// When it cannot be made; names `PLUGIN_DIR`.
pub fn make_folder(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| {
        format!(
            "PLUGIN_DIR={}: the folder cannot be made; name a folder this user may make, or leave PLUGIN_DIR out",
            dir.display()
        )
    })
}

impl Watch {
    /// Reads the folder once, and watches it from then on.
    ///
    /// # Errors
    ///
    /// When the folder cannot be watched; names `PLUGIN_DIR`.
    pub fn start(dir: &Path, runtime: &Arc<PluginRuntime>) -> anyhow::Result<Self> {
        let shown = dir.display();
        // One signal that is waiting says all that more would say.
        let (signals, inbox) = sync_channel(1);
        let events = signals.clone();
        let mut watcher = notify::recommended_watcher(move |_| {
            let _waiting = events.try_send(Signal::Changed);
        })
        .with_context(|| format!("PLUGIN_DIR={shown}: the folder cannot be watched"))?;
        watcher
            .watch(dir, RecursiveMode::NonRecursive)
            .with_context(|| format!("PLUGIN_DIR={shown}: the folder cannot be watched"))?;

        let mut folder = Folder {
            dir: dir.to_owned(),
            seen: HashMap::new(),
        };
        folder.read(runtime);
        let runtime = Arc::downgrade(runtime);
        let thread = std::thread::Builder::new()
            .name("policy-watch".to_owned())
            .spawn(move || watch(&mut folder, &inbox, &runtime))?;
        Ok(Self {
            signals: Some(signals),
            watcher: Some(watcher),
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.watcher.take());
        // The senders are gone with the watcher and this one: that ends the thread at its next look at the inbox.
        if let Some(signals) = self.signals.take() {
            let _full = signals.try_send(Signal::Stop);
        }
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ended = thread.join();
        }
    }
}

fn watch(folder: &mut Folder, inbox: &Receiver<Signal>, runtime: &Weak<PluginRuntime>) {
    loop {
        match inbox.recv_timeout(limits::RESCAN) {
            Ok(Signal::Changed) => {
                if !settle(inbox) {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                if !folder.changed() {
                    continue;
                }
            }
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(runtime) = runtime.upgrade() else { return };
        folder.read(&runtime);
    }
}

/// Waits until the folder is quiet. False when it is time to stop.
fn settle(inbox: &Receiver<Signal>) -> bool {
    let started = Instant::now();
    while started.elapsed() < limits::DEBOUNCE_LONGEST {
        match inbox.recv_timeout(limits::DEBOUNCE) {
            Ok(Signal::Changed) => {}
            Err(RecvTimeoutError::Timeout) => return true,
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}

/// The folder and what was last read of it.
struct Folder {
    dir: PathBuf,
    /// None: no file, what is desired serves.
    seen: HashMap<SlotName, Option<Mark>>,
}

impl Folder {
    fn path(&self, slot: SlotName) -> PathBuf {
        self.dir.join(slot.file())
    }

    fn changed(&self) -> bool {
        SlotName::ALL
            .into_iter()
            .any(|slot| self.seen.get(&slot) != Some(&Mark::of(&self.path(slot))))
    }

    fn read(&mut self, runtime: &PluginRuntime) {
        for slot in runtime.slots() {
            let path = self.path(slot.name());
            // Taken before the file is read: a change during the reading is seen as one afterwards.
            let mark = Mark::of(&path);
            if self.seen.get(&slot.name()) == Some(&mark) {
                continue;
            }
            if mark.is_some() {
                slot.offer_file(&runtime.loader, &path, runtime.trust.required);
            } else {
                slot.without_file();
            }
            self.seen.insert(slot.name(), mark);
        }
    }
}

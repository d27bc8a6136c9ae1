//! Whether the disks have room for what the service writes: database, data folder, policies, logs. Looks, writes nothing.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Found, State};
use crate::config::{Config, DatabaseUrl};

/// With less, a rotation of the log or a burst of writes fills the disk.
const BAD_BYTES: u64 = 100 << 20;
/// With less, there are days left rather than weeks.
const LOW_BYTES: u64 = 1 << 30;
/// A disk that is this full, in percent of it that is free, ...
const LOW_PERCENT: u64 = 5;
/// ... is low only below so many bytes: of a large disk, few percent are plenty.
const PLENTY_BYTES: u64 = 20 << 30;
/// Files that may still be made: a rotation of the log and a swap of a policy need some.
const LOW_FILES: u64 = 1000;

/// One file system, and what of the service lies on it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Disk {
    device: u64,
    /// Names of settings, in the order of the places.
    settings: Vec<&'static str>,
    /// The folder that was looked at.
    folder: PathBuf,
    space: Space,
}

/// Room on a file system, for a user without privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Space {
    free: u64,
    whole: u64,
    /// Files that may still be made; none where the system keeps no count.
    files: Option<u64>,
}

/// Room for everything the service writes.
pub(super) fn space(config: &Config) -> Found {
    let mut disks: Vec<Disk> = Vec::new();
    for (setting, path) in places(config) {
        let folder = nearest(&path);
        let looked = folder.metadata().and_then(|about| {
            let space = look(&folder)?;
            Ok((about.dev(), space))
        });
        let (device, space) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                let why = format!("{setting}: the disk of {} cannot be looked at: {error}", path.display());
                return (State::Warning, why);
            }
        };
        match disks.iter_mut().find(|disk| disk.device == device) {
            Some(disk) => disk.settings.push(setting),
            None => disks.push(Disk {
                device,
                settings: vec![setting],
                folder,
                space,
            }),
        }
    }
    told(&disks)
}

/// What is written, and where. Files stand for their folder.
fn places(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let mut places = vec![("DATA_DIR", config.service.data_dir.clone())];
    if let DatabaseUrl::Sqlite(path) = &config.database.url {
        places.push(("DATABASE_URL", folder_of(path)));
    }
    let plugins = &config.plugins;
    places.extend(plugins.dir.clone().map(|dir| ("PLUGIN_DIR", dir)));
    places.extend(config.log.file.as_deref().map(|file| ("LOG_FILE", folder_of(file))));
    let decisions = plugins.decisions.file.as_deref();
    places.extend(decisions.map(|file| ("DECISION_LOG_FILE", folder_of(file))));
    places
}

fn folder_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(file).to_owned()
}

/// What is not there is made at the start, on the disk of the nearest folder above it.
pub(super) fn nearest(path: &Path) -> PathBuf {
    let there = path.ancestors().find(|folder| folder.exists());
    let there = there.filter(|folder| !folder.as_os_str().is_empty());
    there.unwrap_or_else(|| Path::new(".")).to_owned()
}

fn look(folder: &Path) -> io::Result<Space> {
    let about = rustix::fs::statvfs(folder)?;
    Ok(Space {
        free: about.f_bavail.saturating_mul(about.f_frsize),
        whole: about.f_blocks.saturating_mul(about.f_frsize),
        files: Some(about.f_favail).filter(|_| about.f_files > 0),
    })
}

fn state(space: Space) -> State {
    let Space { free, whole, files } = space;
    // File systems without a size, as of kernels, have no room to run out of.
    if whole == 0 {
        return State::Good;
    }
    let few_percent = free < PLENTY_BYTES && free / LOW_PERCENT < whole / 100;
    if free < BAD_BYTES || files == Some(0) {
        State::Bad
    } else if free < LOW_BYTES || few_percent || files.is_some_and(|files| files < LOW_FILES) {
        State::Warning
    } else {
        State::Good
    }
}

fn told(disks: &[Disk]) -> Found {
    let states: Vec<State> = disks.iter().map(|disk| state(disk.space)).collect();
    let worst = [State::Bad, State::Warning]
        .into_iter()
        .find(|state| states.contains(state))
        .unwrap_or(State::Good);
    let mut text = String::new();
    for (disk, state) in disks.iter().zip(states) {
        // What is well is no news beside what is not.
        if state != worst {
            continue;
        }
        let Space { free, whole, files } = disk.space;
        let settings = disk.settings.join(", ");
        if !text.is_empty() {
            text.push_str("; ");
        }
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "{settings}: {} of {} are free at {}",
            size(free),
            size(whole),
            disk.folder.display()
        );
        if let Some(files) = files.filter(|files| *files < LOW_FILES) {
            let _ = write!(text, ", and {files} more files may be made");
        }
    }
    if worst != State::Good {
        text.push_str(match worst {
            State::Bad => "; on a full disk nothing is stored and no log is written",
            _ => "; it will be full",
        });
        text.push_str(": delete old copies and logs there, make the disk larger, or name a folder on another one");
    }
    (worst, text)
}

/// Bytes for people.
#[expect(clippy::cast_precision_loss, reason = "shown to people")]
fn size(bytes: u64) -> String {
    if bytes >= 1 << 30 {
        format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
    } else {
        format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Mode, Source};

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn disk(setting: &'static str, free: u64, whole: u64) -> Disk {
        Disk {
            device: 1,
            settings: vec![setting],
            folder: PathBuf::from("/there"),
            space: Space {
                free,
                whole,
                files: None,
            },
        }
    }

    #[test]
    fn little_room_is_a_warning_and_less_is_bad() {
        for (free, whole, wanted) in [
            (99 * MIB, 500 * GIB, State::Bad),
            (0, GIB, State::Bad),
            (100 * MIB, 500 * GIB, State::Warning),
            (GIB - 1, 2 * GIB, State::Warning),
            (4 * GIB, 100 * GIB, State::Warning),
            (6 * GIB, 100 * GIB, State::Good),
            (GIB, 10 * GIB, State::Good),
            // One percent, but plenty.
            (20 * GIB, 2000 * GIB, State::Good),
            (19 * GIB, 2000 * GIB, State::Warning),
            (0, 0, State::Good),
        ] {
            let space = Space {
                free,
                whole,
                files: None,
            };
            assert_eq!(state(space), wanted, "{free} of {whole}");
        }
    }

    #[test]
    fn files_run_out_too() {
        let room = |files| Space {
            free: 50 * GIB,
            whole: 100 * GIB,
            files,
        };
        assert_eq!(state(room(Some(0))), State::Bad);
        assert_eq!(state(room(Some(999))), State::Warning);
        assert_eq!(state(room(Some(1000))), State::Good);
        let mut full = disk("DATA_DIR", 50 * GIB, 100 * GIB);
        full.space = room(Some(7));
        let (found, words) = told(&[full]);
        assert_eq!(found, State::Warning);
        assert!(words.contains("7 more files"), "{words}");
    }

    #[test]
    fn the_fullest_disk_is_told_with_the_mend() {
        let disks = [disk("DATA_DIR", 50 * GIB, 100 * GIB), disk("LOG_FILE", 10 * MIB, GIB)];
        let (found, words) = told(&disks);
        assert_eq!(found, State::Bad);
        assert!(
            words.starts_with("LOG_FILE: 10 MiB of 1.0 GiB are free at /there; on a full disk"),
            "{words}"
        );
        assert!(
            words.contains("delete old copies") && !words.contains("DATA_DIR"),
            "{words}"
        );
        let (found, words) = told(&disks[..1]);
        assert_eq!(
            (found, words.as_str()),
            (State::Good, "DATA_DIR: 50.0 GiB of 100.0 GiB are free at /there")
        );
    }

    #[test]
    fn every_place_that_is_written_to_is_looked_at() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name).display().to_string();
        let (data, plugins, log, decisions) = (at("data"), at("plugins"), at("logs/log"), at("decisions"));
        let settings = [
            ("DATA_DIR", data.as_str()),
            ("PLUGIN_DIR", &plugins),
            ("LOG_FILE", &log),
            ("DECISION_LOG_FILE", &decisions),
        ];
        let (config, _) = config::load(&Source::of(&settings, &[]), Mode::Check);
        let (_, words) = space(&config.unwrap());
        let all = "DATA_DIR, DATABASE_URL, PLUGIN_DIR, LOG_FILE, DECISION_LOG_FILE: ";
        assert!(words.starts_with(all), "one disk, told once: {words}");
        assert!(words.contains(&format!("free at {}", home.path().display())), "{words}");
    }
}

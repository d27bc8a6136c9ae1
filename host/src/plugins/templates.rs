//! The projects that `plugin new` writes: one per slot and language, carried in the binary, with a copy of the contract.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::project::Language;
use super::slot_name::SlotName;

/// Stands in the templates where the new policy's name goes.
const NAME: &str = "my-policy";

/// Path in the project, and content.
type TemplateFile = (&'static str, &'static str);

macro_rules! template {
    ($language:literal, $slot:literal: $($file:literal),+ $(,)?) => {
        &[$((
            $file,
            include_str!(concat!("../../../plugins/templates/", $language, "/", $slot, "/", $file)),
        )),+]
    };
}

macro_rules! of_language {
    ($slot:expr, $language:literal: $($file:literal),+ $(,)?) => {
        match $slot {
            SlotName::HostSelection => template!($language, "host-selection": $($file),+),
            SlotName::RateLimit => template!($language, "rate-limit": $($file),+),
            SlotName::NpcTransform => template!($language, "npc-transform": $($file),+),
        }
    };
}

/// The contract, as every project carries it.
const CONTRACT: [TemplateFile; 4] = [
    ("wit/policy.wit", include_str!("../../../wit/policy.wit")),
    (
        "wit/host-selection.wit",
        include_str!("../../../wit/host-selection.wit"),
    ),
    ("wit/rate-limit.wit", include_str!("../../../wit/rate-limit.wit")),
    ("wit/npc-transform.wit", include_str!("../../../wit/npc-transform.wit")),
];

/// Why there is no project.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("{} is not empty: give another folder with --dir", .0.display())]
    NotEmpty(PathBuf),
    #[error(
        "'{0}' is no name for a policy: lower-case letters, digits and hyphens, a letter first; name the folder so"
    )]
    Name(String),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
}

const fn files(slot: SlotName, language: Language) -> &'static [TemplateFile] {
    match language {
        Language::Rust => of_language!(slot, "rust": "Cargo.toml", "src/lib.rs", "vectors.json", "README.md"),
        Language::Javascript => {
            of_language!(slot, "javascript": "policy.json", "src/policy.js", "vectors.json", "README.md")
        }
        Language::Python => {
            of_language!(slot, "python": "policy.json", "src/policy.py", "vectors.json", "README.md")
        }
    }
}

/// Writes a project into `dir`, whose name becomes the policy's. Answers the files, by their path in it.
///
/// # Errors
///
/// When the folder holds something already, its name is no name for a policy, or a file cannot be written.
pub fn write(slot: SlotName, language: Language, dir: &Path) -> Result<Vec<&'static str>, TemplateError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| TemplateError::File { path, error }
    };
    fs::create_dir_all(dir).map_err(at(dir))?;
    if fs::read_dir(dir).map_err(at(dir))?.next().is_some() {
        return Err(TemplateError::NotEmpty(dir.to_owned()));
    }
    let whole = dir.canonicalize().map_err(at(dir))?;
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !is_name(&name) {
        return Err(TemplateError::Name(name));
    }
    let own = files(slot, language);
    for (path, content) in own.iter().chain(&CONTRACT) {
        let path = dir.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        fs::write(&path, content.replace(NAME, &name)).map_err(at(&path))?;
    }
    fs::write(dir.join(".gitignore"), "/dist\n/target\n__pycache__\n").map_err(at(dir))?;
    Ok(own.iter().chain(&CONTRACT).map(|(path, _)| *path).collect())
}

/// Whether a crate, an npm package and a Python project may be called so.
fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_project_in_every_language() {
        for slot in SlotName::ALL {
            for language in [Language::Rust, Language::Javascript, Language::Python] {
                let top = tempfile::tempdir().unwrap();
                let dir = top.path().join("fair-play");
                write(slot, language, &dir).unwrap();
                let project = crate::plugins::project::Project::open(&dir).unwrap();
                assert_eq!(project.language, language);
                assert!(project.main().is_file());
                let vectors = crate::plugins::vectors::of_project(&dir, slot).unwrap();
                assert!(vectors.is_some());
                for (path, _) in files(slot, language) {
                    let text = fs::read_to_string(dir.join(path)).unwrap();
                    assert!(!text.contains(NAME), "{slot:?} {language:?} {path}");
                }
            }
        }
    }

    #[test]
    fn what_is_there_is_not_written_over() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("mine"), "").unwrap();
        let error = write(SlotName::RateLimit, Language::Rust, top.path()).unwrap_err();
        assert!(matches!(error, TemplateError::NotEmpty(_)), "{error}");
    }

    #[test]
    fn a_folder_whose_name_is_no_policys_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let error = write(SlotName::RateLimit, Language::Python, &top.path().join("My Policy")).unwrap_err();
        assert!(matches!(error, TemplateError::Name(_)), "{error}");
    }
}

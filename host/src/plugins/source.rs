//! Ties a component to the sources it was built from: a digest over the crate and the contract, carried in a custom
//! section of the component. The same sources give the same digest in any folder and with any line endings.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};

/// The custom section with the digest, as hex text.
pub const SECTION: &str = "p2p-coordinator:source";

/// The custom section with the golden vectors, as JSON text.
pub const VECTORS: &str = "p2p-coordinator:vectors";

/// Deepest folder below `src` that is read.
const MAX_DEPTH: usize = 16;

/// Why there is no digest.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
    #[error(
        "neither {0} nor a folder above it holds the contract: a folder `wit` with the package p2p-coordinator:policy"
    )]
    NoContract(PathBuf),
    #[error("{0} is nested too deep")]
    TooDeep(PathBuf),
}

/// SHA-256, in hex, over the policy in `dir`: its manifest, everything in `src`, and the WIT package it is built against,
/// which is the folder `wit` of the project or of the nearest folder above it. Hidden files and what interpreters leave
/// behind do not count, nor do folders in `wit`: they hold contracts of other versions.
///
/// # Errors
///
/// A file that cannot be read, or no WIT package.
pub fn digest(dir: &Path, manifest: &str) -> Result<String, SourceError> {
    let dir = dir.canonicalize().map_err(|error| SourceError::File {
        path: dir.to_owned(),
        error,
    })?;
    let mut files = vec![(manifest.to_owned(), dir.join(manifest))];
    collect(&dir.join("src"), "src", MAX_DEPTH, &mut files)?;
    collect_contract(&contract(&dir)?, &mut files)?;
    files.sort_unstable();
    let mut hash = Sha256::new();
    for (name, path) in files {
        let mut content = fs::read(&path).map_err(|error| SourceError::File { path, error })?;
        without_carriage_returns(&mut content);
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(&content);
    }
    Ok(hex::encode(hash.finalize()))
}

/// The digest that a component carries; none when it carries none or is no component.
#[must_use]
pub fn embedded(component: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(section(component, SECTION)?).ok()?;
    Some(text.to_owned())
}

/// The content of a component's own custom section; none when it has no such section or is no component.
#[must_use]
pub fn section<'a>(component: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut depth = 0usize;
    let mut found = None;
    for payload in Parser::new(0).parse_all(component) {
        match payload.ok()? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == name => {
                found = Some(section.data());
            }
            _ => {}
        }
    }
    found
}

/// A component without the custom sections of this name that `append` put there.
pub(super) fn without(component: &[u8], name: &str) -> Vec<u8> {
    let mut depth = 0usize;
    let mut kept = Vec::with_capacity(component.len());
    let mut from = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::CustomSection(section)) if depth == 0 && section.name() == name => {
                // Before its content stand the kind of section and the length.
                let range = section.range();
                let mut length = Vec::new();
                leb128(&mut length, range.len());
                let start = range.start.saturating_sub(1 + length.len());
                kept.extend_from_slice(component.get(from..start).unwrap_or_default());
                from = range.end;
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    kept.extend_from_slice(component.get(from..).unwrap_or_default());
    kept
}

/// The names that a component exports; none when it is no component.
pub(super) fn exports(component: &[u8]) -> Vec<String> {
    let mut depth = 0usize;
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::ComponentExportSection(section)) if depth == 0 => {
                names.extend(section.into_iter().flatten().map(|export| export.name.name.to_owned()));
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    names
}

/// Appends a custom section to a component.
pub(super) fn append(component: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut section = Vec::new();
    leb128(&mut section, name.len());
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(content);
    component.push(0);
    leb128(component, section.len());
    component.extend_from_slice(&section);
}

fn leb128(bytes: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// The nearest folder `wit` that holds the package of the policies.
pub(super) fn contract(dir: &Path) -> Result<PathBuf, SourceError> {
    dir.ancestors()
        .map(|folder| folder.join("wit"))
        .find(|wit| {
            let files = fs::read_dir(wit).into_iter().flatten().flatten();
            files
                .filter_map(|file| fs::read_to_string(file.path()).ok())
                .any(|text| {
                    text.lines()
                        .any(|line| line.starts_with("package p2p-coordinator:policy"))
                })
        })
        .ok_or_else(|| SourceError::NoContract(dir.to_owned()))
}

/// The files of the contract, as compilers read it: those in the folder itself.
fn collect_contract(folder: &Path, files: &mut Vec<(String, PathBuf)>) -> Result<(), SourceError> {
    collect(folder, "wit", MAX_DEPTH, files)?;
    files.retain(|(name, _)| name.strip_prefix("wit/").is_none_or(|rest| !rest.contains('/')));
    Ok(())
}

fn collect(folder: &Path, name: &str, depth: usize, files: &mut Vec<(String, PathBuf)>) -> Result<(), SourceError> {
    let wrong = |error| SourceError::File {
        path: folder.to_owned(),
        error,
    };
    if depth == 0 {
        return Err(SourceError::TooDeep(folder.to_owned()));
    }
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let own_name = entry.file_name();
        let own_name = own_name.to_string_lossy();
        if own_name.starts_with('.') || own_name == "__pycache__" {
            continue;
        }
        let name = format!("{name}/{own_name}");
        if entry.path().is_dir() {
            collect(&entry.path(), &name, depth - 1, files)?;
        } else {
            files.push((name, entry.path()));
        }
    }
    Ok(())
}

fn without_carriage_returns(content: &mut Vec<u8>) {
    let mut previous = 0;
    let mut kept = Vec::with_capacity(content.len());
    for &byte in content.iter() {
        if byte == b'\n' && previous == b'\r' {
            kept.pop();
        }
        kept.push(byte);
        previous = byte;
    }
    *content = kept;
}

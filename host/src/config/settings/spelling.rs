//! The setting that was meant by a misspelt name. Decides nothing.

use super::SETTINGS;

/// The known name that is closest to a misspelt one, if any is close.
#[must_use]
pub fn did_you_mean(name: &str) -> Option<&'static str> {
    let upper = name.to_ascii_uppercase();
    let contained = SETTINGS
        .iter()
        .map(|setting| setting.name)
        .find(|known| upper.len() >= 8 && known.ends_with(&upper));
    SETTINGS
        .iter()
        .map(|setting| (distance(&upper, setting.name), setting.name))
        .min()
        .filter(|(steps, known)| *steps <= 3 && *steps < known.len() / 2)
        .map(|(_, known)| known)
        .or(contained)
}

/// Single-character edits between two names.
fn distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().take(128).enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

//! An example of the slot `npc-transform`: peers see what is near a place of interest.
//!
//! The operator names places per zone, each with a radius. NPCs within it pass whole; those within twice the radius pass
//! with who and where they are; those beyond are hidden, unless they have a quest. Private members never pass, wherever
//! their NPC is. A zone without places passes whole. Plain Rust without the contract; `component` puts the two together.

#[cfg(target_arch = "wasm32")]
mod component;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::{Place, Settings};

/// Name of the policy, for operators.
pub const NAME: &str = "interest-area-npcs";
/// Version of the policy.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What the policy does, in one sentence.
pub const SUMMARY: &str = "NPCs near a place of interest pass whole, those farther off with who and where they are, those \
                           beyond not at all.";

/// The member that lists the names of further private members.
pub const INTERNAL: &str = "internal";
/// What passes of an NPC that is farther off.
const FAR: [&str; 6] = ["npc_id", "id", "name", "position", "x", "y"];
/// The quest status of an NPC without a quest.
const NO_QUEST: &str = "none";

/// How much of an NPC passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    Whole,
    /// Who and where it is.
    Far,
    Hidden,
}

/// How much of an NPC at `x`, `y` passes. `quest` is its quest status.
#[must_use]
pub fn view(places: &[&Place], x: f64, y: f64, quest: Option<&str>) -> View {
    // An NPC that matters to somebody is never lost from sight.
    if places.is_empty() || quest.is_some_and(|quest| quest != NO_QUEST) {
        return View::Whole;
    }
    let distance = |place: &Place| (x - place.x).hypot(y - place.y) / place.radius;
    let nearest = places.iter().map(|place| distance(place)).fold(f64::INFINITY, f64::min);
    if nearest <= 1.0 {
        View::Whole
    } else if nearest <= 2.0 {
        View::Far
    } else {
        View::Hidden
    }
}

/// The members of an NPC that do not pass. `members` are whatever stands for them, `name` gives the name; `list` gives the
/// value of the member `internal` as JSON text, and is asked only when the NPC has that member.
pub fn removed<'a, M: Copy>(
    view: View,
    members: impl Iterator<Item = M> + Clone,
    name: impl Fn(M) -> &'a str,
    list: impl FnOnce() -> Option<String>,
) -> Vec<M> {
    let has_list = members.clone().any(|member| name(member) == INTERNAL);
    let list = if has_list { list() } else { None }.unwrap_or_default();
    members
        .filter(|&member| {
            let name = name(member);
            is_private(name, &list) || (view == View::Far && !FAR.contains(&name))
        })
        .collect()
}

/// A name in quotes anywhere in the list counts: too much stays behind rather than too little.
fn is_private(name: &str, list: &str) -> bool {
    name == INTERNAL || name.starts_with('_') || list.contains(&format!("\"{name}\""))
}

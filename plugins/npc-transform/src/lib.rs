//! The default policy of the slot `npc-transform`: what peers get to see of an NPC.
//!
//! Every NPC passes with all of its members, except those marked internal: members whose name starts with `_`, and
//! members that the record's own member `internal` names. That member is a JSON list of names, for example
//! `["mood", "plan"]`, and never passes itself; when it is no list, it names nothing. The logic is compiled into the
//! component and linked into the coordinator as the native default. It holds no state.

#[cfg(target_arch = "wasm32")]
mod component;
mod names;
#[cfg(test)]
mod tests;

pub use names::parse_names;

/// Name of the policy, for operators.
pub const NAME: &str = "default-npc-transform";
/// Version of the policy.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What the policy does, in one sentence.
pub const SUMMARY: &str = "NPCs pass with position, dialogue state, quest status and all further members, except those \
                           that start with an underscore or are named in the member 'internal'.";

/// The member that lists the names of further internal members.
pub const INTERNAL: &str = "internal";

/// What a member's name alone says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Passes, unless the record's list names it.
    Public,
    /// Never passes.
    Internal,
    /// The list of internal names. Never passes.
    List,
}

/// Judges a member by its name.
#[must_use]
pub fn mark(name: &str) -> Mark {
    if name == INTERNAL {
        Mark::List
    } else if name.starts_with('_') {
        Mark::Internal
    } else {
        Mark::Public
    }
}

/// The members of one NPC that peers do not see, in the record's order.
///
/// A member `M` is a name or whatever stands for one: `name` gives the name, `mark` what [`mark`] says of it. `list`
/// gives the value of the member `internal` as JSON text and is asked only when the NPC has that member.
#[must_use]
pub fn removed<'a, M: Copy>(
    members: impl Iterator<Item = M> + Clone,
    mark: impl Fn(M) -> Mark,
    name: impl Fn(M) -> &'a str,
    list: impl FnOnce() -> Option<String>,
) -> Vec<M> {
    let (mut marked, mut listed) = (false, false);
    for member in members.clone() {
        match mark(member) {
            Mark::Public => {}
            Mark::Internal => marked = true,
            Mark::List => listed = true,
        }
    }
    if !marked && !listed {
        return Vec::new();
    }
    let names = if listed {
        list().map_or_else(Vec::new, |json| parse_names(&json))
    } else {
        Vec::new()
    };
    members
        .filter(|&member| mark(member) != Mark::Public || names.iter().any(|internal| internal == name(member)))
        .collect()
}

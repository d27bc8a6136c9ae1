//! What a policy wants done to a frame, checked and carried out.

use serde_json::Value;

use super::Npc;
use super::bindings::exports::p2p_coordinator::policy::transformation as wit;
use crate::plugins::failure::Failure;
use crate::ports::policies::NpcFrame;

/// What is to be done to one NPC, checked.
#[derive(Clone, Debug, Default)]
struct Patch {
    hidden: bool,
    patched: bool,
    /// Indexes into the names of the frame.
    remove: Vec<u32>,
    set: Vec<(String, Value)>,
}

/// What is to be done to a frame, checked: one patch for each NPC, and the names that patches point to.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    patches: Vec<Patch>,
    names: Vec<String>,
}

impl Changes {
    /// Checks the answer about `frame`, whose names are `names`.
    pub(super) fn check(answer: wit::Changes, frame: &NpcFrame, names: Vec<String>) -> Result<Self, Failure> {
        let count = frame.npcs.len();
        let mut patches = vec![Patch::default(); count];
        let beyond = |index: u32| Failure::invalid(format!("NPC {index} of {count}"));
        for index in answer.hidden {
            let patch = patches.get_mut(index as usize).ok_or_else(|| beyond(index))?;
            if std::mem::replace(&mut patch.hidden, true) {
                return Err(Failure::invalid(format!("NPC {index} hidden twice")));
            }
        }
        for given in answer.patches {
            let index = given.npc;
            let patch = patches.get_mut(index as usize).ok_or_else(|| beyond(index))?;
            if std::mem::replace(&mut patch.patched, true) {
                return Err(Failure::invalid(format!("NPC {index} patched twice")));
            }
            if let Some(name) = given.remove.iter().find(|name| **name as usize >= names.len()) {
                return Err(Failure::invalid(format!("name {name} of {}", names.len())));
            }
            patch.remove = given.remove;
            patch.set = values(given.set)?;
        }
        Ok(Self { patches, names })
    }

    /// Carries the changes out.
    pub(super) fn apply(self, npcs: Vec<Npc>) -> Vec<Npc> {
        let Self { patches, names } = self;
        npcs.into_iter()
            .zip(patches)
            .filter(|(_, patch)| !patch.hidden)
            .map(|(mut npc, patch)| {
                for name in patch.remove.iter().filter_map(|index| names.get(*index as usize)) {
                    npc.remove(name);
                }
                npc.extend(patch.set);
                npc
            })
            .collect()
    }
}

/// The members to set, read from their JSON.
fn values(members: Vec<wit::Member>) -> Result<Vec<(String, Value)>, Failure> {
    members
        .into_iter()
        .map(|member| match serde_json::from_str(&member.value) {
            Ok(value) => Ok((member.name, value)),
            Err(error) => Err(Failure::invalid(format!("the value of a member is not JSON: {error}"))),
        })
        .collect()
}

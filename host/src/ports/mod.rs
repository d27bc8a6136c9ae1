//! What the application needs from the outside, as traits: durable storage, shared live state, policies, and the
//! AI service. Implementations live in `storage`, `live`, `plugins` and `npcs`; only `boot` names them.

pub mod delivery;
pub mod fleet;
pub mod live;
pub mod npc_source;
pub mod peers;
pub mod policies;
pub mod releases;
pub mod storage;

#[cfg(test)]
pub(crate) mod contract;

//! The generations of the contract with policies. A generation is frozen in a folder of its own below `wit/`, and has an
//! adapter here, which is chosen once, when a policy is loaded: no call asks for the version. What a generation means stands
//! in its WIT.

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use wasmtime::component::InstancePre;

use super::loader::WIT_VERSION;
use super::state::GuestState;
use super::worlds::World;

/// A released version of the contract, without its patch number. Later ones come below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// `wit/1.0.0`.
    V1_0,
}

impl Generation {
    /// Every generation, oldest first.
    pub const ALL: [Self; 1] = [Self::V1_0];

    /// The version that is frozen, which is also the name of its folder.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0.0",
        }
    }

    /// The generation that speaks with a policy built for `version`: the newest of the same major version that is not newer. A
    /// policy of a minor version that is not known yet gets the newest there is, and is refused at step `imports` or `world` when
    /// it needs more.
    #[must_use]
    pub fn of(version: &str) -> Option<Self> {
        let wanted = numbers(version)?;
        Self::ALL
            .into_iter()
            .rev()
            .find(|known| numbers(known.version()).is_some_and(|known| known.0 == wanted.0 && known.1 <= wanted.1))
    }

    /// Ties a component to the code that speaks with it.
    ///
    /// # Errors
    ///
    /// When an export is missing or of another type.
    pub fn adapt<W: World>(self, pre: InstancePre<GuestState<W::Call>>) -> wasmtime::Result<W::Pre> {
        match self {
            Self::V1_0 => W::prepare(pre),
        }
    }
}

/// Why no generation speaks with a policy.
#[must_use]
pub fn refusal(version: &str) -> String {
    format!("it is built for version {version} of the contract; this coordinator speaks {WIT_VERSION}")
}

/// Major and minor number.
fn numbers(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.').map(str::parse);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor)), Some(_)) => Some((major, minor)),
        _ => None,
    }
}

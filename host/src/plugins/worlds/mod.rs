//! The three WIT worlds. Each folder binds one, converts between the domain and the contract, checks every answer, and
//! falls back to the native default. Its `question` is the slot's questions and answers as JSON. Dispatch on the world happens here, once, at load.

pub mod host_selection;
pub mod npc_transform;
pub mod rate_limit;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmtime::Store;
use wasmtime::component::{InstancePre, Linker};

use super::decisions::Kept;
use super::failure::Failure;
use super::instance::Instance;
use super::slot_name::SlotName;
use super::state::GuestState;

/// Who a policy says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub name: String,
    pub version: String,
    pub summary: String,
}

/// One WIT world, as the loader and the slots see it.
pub trait World: Sized + Send + Sync + 'static {
    /// Its slot.
    const SLOT: SlotName;
    /// Bytes a guest may hand over in one call.
    const ANSWER_BYTES: usize;
    /// One call in so many is timed.
    const SAMPLE: u64;

    /// What the imports look at during a call.
    type Call: Default + Send + 'static;
    /// A component whose exports are known to fit.
    type Pre: Send + Sync;
    /// The exports of one instance.
    type Guest: Send;

    /// Provides the imports.
    ///
    /// # Errors
    ///
    /// When an import is provided twice.
    fn link(linker: &mut Linker<GuestState<Self::Call>>) -> wasmtime::Result<()>;

    /// Finds the exports.
    ///
    /// # Errors
    ///
    /// When one is missing or of another type.
    fn prepare(pre: InstancePre<GuestState<Self::Call>>) -> wasmtime::Result<Self::Pre>;

    /// Makes an instance.
    ///
    /// # Errors
    ///
    /// When a limit is reached or the guest traps.
    fn instantiate(pre: &Self::Pre, store: &mut Store<GuestState<Self::Call>>) -> wasmtime::Result<Self::Guest>;

    /// Asks who the policy is.
    ///
    /// # Errors
    ///
    /// When the call fails.
    fn describe(instance: &mut Instance<Self>) -> wasmtime::Result<Description>;

    /// Hands over the settings. The inner error is the policy's own.
    ///
    /// # Errors
    ///
    /// When the call fails.
    fn configure(instance: &mut Instance<Self>, settings: &[(String, String)]) -> wasmtime::Result<Result<(), String>>;

    /// One question to the policy, with all that it can see. Its JSON is stable: files are made of it.
    type Question: Serialize + DeserializeOwned + Clone + Send + Sync;
    /// A checked answer. Its JSON is stable as well.
    type Answer: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static;
    /// What is kept of a question for those who look on.
    type Kept: Kept<Question = Self::Question>;

    /// The deadline of a question, in ticks.
    fn ticks(question: &Self::Question) -> u64;

    /// Asks one question, with the checks of the running service. `Instance::ask` does it within the deadline.
    ///
    /// # Errors
    ///
    /// When the call fails or the answer makes no sense.
    fn answer(instance: &mut Instance<Self>, question: &Self::Question) -> Result<Self::Answer, Failure>;

    /// What the native default answers. Settings that it does not understand leave it its own numbers.
    fn native(question: &Self::Question, settings: &[(String, String)]) -> Self::Answer;

    /// What a new policy is asked before it gets the slot.
    fn samples() -> Vec<Self::Question>;

    /// Asks the sample questions of the slot.
    ///
    /// # Errors
    ///
    /// When a call fails or an answer makes no sense.
    fn trial(instance: &mut Instance<Self>) -> Result<(), Failure> {
        for question in Self::samples() {
            instance.ask(&question)?;
        }
        Ok(())
    }
}

/// Implements the `logging` import of a world's bindings, and the two calls of `lifecycle`, which have the same shape in
/// every world but a type of its own in each.
macro_rules! lifecycle_of_world {
    ($bindings:ident, $call:ty) => {
        impl $bindings::p2p_coordinator::policy::logging::Host for $crate::plugins::state::GuestState<$call> {
            fn log(&mut self, level: $bindings::p2p_coordinator::policy::logging::Level, message: String) {
                use $bindings::p2p_coordinator::policy::logging::Level;
                let level = match level {
                    Level::Debug => tracing::Level::DEBUG,
                    Level::Info => tracing::Level::INFO,
                    Level::Warn => tracing::Level::WARN,
                };
                Self::log(self, level, &message);
            }
        }

        fn call_describe(
            instance: &mut $crate::plugins::instance::Instance<Bound>,
        ) -> wasmtime::Result<$crate::plugins::worlds::Description> {
            let said = instance
                .guest
                .p2p_coordinator_policy_lifecycle()
                .call_describe(&mut instance.store)?;
            Ok($crate::plugins::worlds::Description {
                name: said.name,
                version: said.version,
                summary: said.summary,
            })
        }

        fn call_configure(
            instance: &mut $crate::plugins::instance::Instance<Bound>,
            settings: &[(String, String)],
        ) -> wasmtime::Result<Result<(), String>> {
            let settings: Vec<_> = settings
                .iter()
                .map(
                    |(name, value)| $bindings::exports::p2p_coordinator::policy::lifecycle::Setting {
                        name: name.clone(),
                        value: value.clone(),
                    },
                )
                .collect();
            instance
                .guest
                .p2p_coordinator_policy_lifecycle()
                .call_configure(&mut instance.store, &settings)
        }
    };
}
use lifecycle_of_world;

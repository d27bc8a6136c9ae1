//! The slot `host-selection`: scores hosts and ranks candidates. Checks that every pick is one of the candidates.

mod ask;
mod kept;
mod native;
mod question;
mod sample;
mod service;

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{HasSelf, InstancePre, Linker};

pub use self::question::{Answer, Candidate, HostFacts, Pick, Question, RankQuestion};
pub use self::sample::{sample_candidate, sample_request};
pub use self::service::HostChoice;
use super::{Description, World, lifecycle_of_world};
use crate::plugins::failure::Failure;
use crate::plugins::instance::Instance;
use crate::plugins::limits;
use crate::plugins::slot_name::SlotName;
use crate::plugins::state::GuestState;
use crate::ports::policies::HostCandidate;

mod bindings {
    wasmtime::component::bindgen!({ world: "host-selection", path: "../wit" });
}

use bindings::p2p_coordinator::policy::candidates;

/// The candidates of the call in hand.
pub type Candidates = Arc<Vec<HostCandidate>>;

impl candidates::Host for GuestState<Candidates> {
    fn details(&mut self, candidate: u32) -> Option<candidates::HostDetails> {
        let host = &self.call.get(candidate as usize)?.host;
        Some(candidates::HostDetails {
            cpu_cores: host.cpu_cores,
            cpu_frequency_mhz: host.cpu_frequency_mhz,
            memory_mb: host.memory_mb,
            network_mbps: host.network_speed_mbps,
            bandwidth_usage_mbps: host.bandwidth_usage_mbps,
            current_players: host.current_players,
            max_players: host.max_players,
            current_zones: host.current_zones,
            max_zones: host.max_zones,
        })
    }

    fn label(&mut self, candidate: u32, name: String) -> Option<String> {
        self.call.get(candidate as usize)?.host.labels.get(&name).cloned()
    }

    fn host_id(&mut self, candidate: u32) -> Option<String> {
        Some(self.call.get(candidate as usize)?.host.host_id.clone())
    }
}

/// The world as bound here.
pub struct Bound;

lifecycle_of_world!(bindings, Candidates);

impl World for Bound {
    const SLOT: SlotName = SlotName::HostSelection;
    const ANSWER_BYTES: usize = limits::SMALL_ANSWER_BYTES;
    const SAMPLE: u64 = 1;

    type Call = Candidates;
    type Pre = bindings::HostSelectionPre<GuestState<Candidates>>;
    type Guest = bindings::HostSelection;

    fn link(linker: &mut Linker<GuestState<Candidates>>) -> wasmtime::Result<()> {
        bindings::HostSelection::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
    }

    fn prepare(pre: InstancePre<GuestState<Candidates>>) -> wasmtime::Result<Self::Pre> {
        bindings::HostSelectionPre::new(pre)
    }

    fn instantiate(pre: &Self::Pre, store: &mut Store<GuestState<Candidates>>) -> wasmtime::Result<Self::Guest> {
        pre.instantiate(store)
    }

    fn describe(instance: &mut Instance<Self>) -> wasmtime::Result<Description> {
        call_describe(instance)
    }

    fn configure(instance: &mut Instance<Self>, settings: &[(String, String)]) -> wasmtime::Result<Result<(), String>> {
        call_configure(instance, settings)
    }

    type Question = Question;
    type Answer = Answer;
    type Kept = kept::Kept;

    fn ticks(question: &Question) -> u64 {
        match question {
            Question::Score(_) => limits::DECISION_TICKS,
            Question::Rank(_) => limits::RANK_TICKS,
        }
    }

    fn answer(instance: &mut Instance<Self>, question: &Question) -> Result<Answer, Failure> {
        match question {
            Question::Score(facts) => ask::score(instance, &facts.to_domain()).map(Answer::Score),
            Question::Rank(rank) => {
                let (request, candidates) = rank.to_domain();
                let picks = ask::rank(instance, &request, &ask::best(candidates))?;
                Ok(Answer::rank(&picks))
            }
        }
    }

    fn native(question: &Question, _: &[(String, String)]) -> Answer {
        match question {
            Question::Score(facts) => Answer::Score(native::score(&facts.to_domain())),
            Question::Rank(rank) => {
                let (request, candidates) = rank.to_domain();
                Answer::rank(&native::rank(&request, &ask::best(candidates)))
            }
        }
    }

    fn samples() -> Vec<Question> {
        let mut samples = Vec::new();
        for count in [0, 1, 3, 50] {
            let candidates: Vec<HostCandidate> = (0..count).map(sample_candidate).collect();
            samples.extend(candidates.iter().map(|candidate| Question::score(&candidate.host)));
            samples.push(Question::rank(&sample_request(), &candidates));
        }
        samples
    }
}

//! The policies in their slots.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use crate::app::releases::report::{self as delivery, SlotDelivery};
use crate::http::answer;
use crate::http::extract::Operator;
use crate::http::state::HttpState;
use crate::plugins::report::{PluginReport, SlotReport};

/// All slots on this node, and how far all nodes are with what they are to run.
#[derive(Debug, Serialize, ToSchema)]
pub struct Plugins {
    /// The version of the contract this coordinator speaks.
    pub wit_version: String,
    /// The watched folder, none when there is none.
    pub plugin_dir: Option<String>,
    pub slots: Vec<SlotView>,
}

/// One slot on this node and in the fleet.
#[derive(Debug, Serialize, ToSchema)]
pub struct SlotView {
    #[serde(flatten)]
    pub report: SlotReport,
    /// None while storage is away.
    pub delivery: Option<SlotDelivery>,
}

/// Per slot: which release serves, its state, calls, failures, latency, the last refusal; what the slot is to run, its rollout,
/// and how far the nodes are.
#[utoipa::path(get, path = "/api/v1/plugins", tag = "plugins", security(("api_key" = [])),
    responses((status = 200, body = Plugins)))]
pub async fn report(State(state): Shared, _: Operator) -> Response {
    answer::ok(&gathered(&state).await)
}

/// The report of all slots.
pub async fn gathered(state: &HttpState) -> Plugins {
    let PluginReport {
        wit_version,
        plugin_dir,
        slots,
    } = state.plugins.report();
    let mut delivered = match delivery::delivery(&state.app).await {
        Ok(delivered) => delivered,
        Err(error) => {
            tracing::warn!(%error, "the report of the policies is of this node alone");
            Vec::new()
        }
    };
    let view = |report: SlotReport| {
        let place = delivered.iter().position(|slot| slot.desired.slot == report.slot);
        SlotView {
            delivery: place.map(|place| delivered.swap_remove(place)),
            report,
        }
    };
    let slots = slots.into_iter().map(view).collect();
    Plugins {
        wit_version,
        plugin_dir,
        slots,
    }
}

//! Handlers, one file per noun. The list of all of them is in `http/router.rs`.

pub mod auth;
pub mod decisions;
pub mod docs;
pub mod health;
pub mod hosts;
pub mod monitoring;
pub mod plugins;
pub mod releases;
pub mod root;
pub mod sessions;
pub mod zones;

use std::sync::Arc;

use super::state::HttpState;

/// The state as handlers take it.
pub type Shared = axum::extract::State<Arc<HttpState>>;

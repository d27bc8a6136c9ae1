//! The AI service, behind `ports::npc_source`.

mod http;

pub use http::HttpNpcSource;

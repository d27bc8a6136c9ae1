//! Coordinator for hybrid peer-to-peer games: hosts, zones, sessions, signaling, and policies as WebAssembly components.
//!
//! Direction of dependencies: `main` → `boot` → everything; `http`, `signaling`, `tasks` → `app` → `ports` → `domain`;
//! `storage`, `live`, `npcs` and `plugins` implement `ports`. Nothing imports sideways.

pub mod app;
pub mod boot;
pub mod cli;
pub mod config;
pub mod domain;
pub mod http;
pub mod lifecycle;
pub mod live;
pub mod npcs;
pub mod outbound;
pub mod plugins;
pub mod ports;
pub mod reload;
pub mod serve;
pub mod signaling;
pub mod storage;
pub mod tasks;
pub mod telemetry;

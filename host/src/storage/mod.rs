//! Durable storage, behind `ports::storage`: one module per database, and what they share.

mod beats;
pub mod postgres;
pub mod sqlite;

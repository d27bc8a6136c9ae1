//! Durable storage, behind `ports::storage`.

pub mod sqlite;

//! Durable storage, behind `ports::storage`.

//! Shared live state, behind `ports::live`.

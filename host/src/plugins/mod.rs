//! The policy runtime: components in slots, swapped while the service runs.

//! The HTTP API: paths, credentials, limits, errors and the OpenAPI document.
//!
//! A handler extracts, calls one function of `app`, and maps the answer. Nothing here knows SQL or wasmtime.

pub mod answer;
pub mod client;
pub mod console;
pub mod error;
mod examples;
pub mod extract;
pub mod metrics;
pub mod middleware;
pub mod openapi;
pub mod router;
pub mod routes;
pub mod service;
pub mod state;

pub use router::{openapi_document, router};

#[cfg(test)]
mod tests;

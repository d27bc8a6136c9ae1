//! The AsyncAPI document of the WebSocket, for machines. It is a file, and a test holds it against the types of the wire.

use serde_json::Value;

const DOCUMENT: &str = include_str!("../../assets/asyncapi.json");

/// The document, as text to read.
///
/// # Errors
/// When the file in this binary is no JSON.
pub fn document(version: &str) -> serde_json::Result<String> {
    let mut document: Value = serde_json::from_str(DOCUMENT)?;
    document["info"]["version"] = version.into();
    serde_json::to_string_pretty(&document)
}

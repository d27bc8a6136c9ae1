//! Examples for the OpenAPI document: one for each body, made of its schema and of what members of a name hold as a rule. An
//! operation's own example stays.

use serde_json::{Map, Value, json};
use utoipa::openapi::content::Content;
use utoipa::openapi::{OpenApi, RefOr};

use super::error::PROBLEM_JSON;
use super::openapi::operations;

/// How deep schemas may hold each other.
const DEPTH: usize = 32;
const ID: &str = "4f1c0a9b12de7735c8e04d1f6a2b9c3e5d7f8091a2b3c4d5e6f708192a3b4c5d";
const MOMENT: &str = "2025-11-09T12:00:00.000Z";

/// Gives every body of every operation an example.
pub fn add(document: &mut OpenApi) {
    let schemas = document
        .components
        .as_ref()
        .and_then(|components| serde_json::to_value(&components.schemas).ok())
        .unwrap_or_default();
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            if let Some(RefOr::T(body)) = &mut operation.request_body {
                body.content.values_mut().for_each(|content| fill(content, &schemas));
            }
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                for (kind, content) in &mut response.content {
                    match content {
                        RefOr::T(content) if kind == PROBLEM_JSON && content.example.is_none() => {
                            content.example = Some(problem(status, &response.description));
                        }
                        content => fill(content, &schemas),
                    }
                }
            }
        }
    }
}

fn fill(content: &mut RefOr<Content>, schemas: &Value) {
    if let RefOr::T(content) = content
        && content.example.is_none()
        && content.examples.is_empty()
        && let Some(schema) = content
            .schema
            .as_ref()
            .and_then(|schema| serde_json::to_value(schema).ok())
    {
        content.example = Some(of(&schema, schemas, "", DEPTH));
    }
}

/// An example of what fits the schema. `name` is that of the member it stands for.
fn of(schema: &Value, schemas: &Value, name: &str, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    let inner = |schema: &Value, name: &str| of(schema, schemas, name, depth - 1);
    if let Some(given) = schema.get("example").or_else(|| schema.get("default")) {
        return given.clone();
    }
    if let Some(target) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return inner(&schemas[target], name);
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let mut whole = Map::new();
        for part in parts {
            if let Value::Object(members) = inner(part, name) {
                whole.extend(members);
            }
        }
        return whole.into();
    }
    if let Some(kinds) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        return kinds.first().map_or(Value::Null, |kind| inner(kind, name));
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.first().cloned().unwrap_or_default();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind.unwrap_or_default() {
        "object" => object(schema, &inner),
        "array" => json!([inner(&schema["items"], singular(name))]),
        "string" if schema["format"] == "date-time" => MOMENT.into(),
        "string" => word(name).into(),
        "integer" => integer(name).max(schema["minimum"].as_i64().unwrap_or_default()).into(),
        "number" => number(name).into(),
        "boolean" => true.into(),
        _ => json!([]),
    }
}

fn object(schema: &Value, inner: &impl Fn(&Value, &str) -> Value) -> Value {
    let mut whole = Map::new();
    if let Some(members) = schema["properties"].as_object() {
        for (name, member) in members {
            whole.insert(name.clone(), inner(member, name));
        }
    }
    if let Some(others) = schema.get("additionalProperties").filter(|others| others.is_object()) {
        whole.insert("name".to_owned(), inner(others, "value"));
    }
    whole.into()
}

fn singular(name: &str) -> &str {
    match name {
        "player_ids" | "connected_players" => "player_id",
        "enabled_zones" => "zone_id",
        "history" => "release_id",
        other => other,
    }
}

/// What a text of this name holds as a rule.
fn word(name: &str) -> &str {
    match name {
        "host_id" | "host" => "host-alice",
        "player_id" | "peer_id" => "alice",
        "player_name" => "Alice",
        "user_id" => "account-17",
        "zone_id" | "zone" | "zone_name" | "map_name" => "prontera",
        "zone_display_name" => "Prontera",
        "session_id" => "session-9f2c41d07ab6e358",
        "ip_address" | "public_ip" => "192.0.2.10",
        "region" => "eu-west",
        "id" | "release_id" | "active" | "previous" | "desired" => ID,
        "digest" => "d21d2059137a1811499f25a86025c5c81c05a43d406cd68453c47e82b9567dd9",
        "component" => "AGFzbQ0AAQA=",
        "key_id" => "release-2025",
        "signature" | "value" => "c2lnbmVk",
        "access_token" | "refresh_token" | "token" => "eyJhbGciOiJIUzI1NiJ9.e30.signature",
        "api_key" => "the value of COORDINATOR_API_KEY",
        "token_type" => "bearer",
        "service" => "p2p-coordinator",
        "version" => "2.0.0",
        "wit_version" => "1.0.0",
        "docs" => "/docs",
        "node" => "node-1c0a9b12de7735c8",
        "storage" => "sqlite",
        "live" => "memory",
        "postgres" | "redis" => "connected",
        "status" => "ready",
        "source" => "bundled",
        "summary" => "Best score first",
        "name" => "default-host-selection",
        "created_by" | "who" => "operator",
        "note" | "why" => "prefers close hosts",
        "convergence" => "3 of 3 nodes on 4f1c0a9b12de",
        "plugin_dir" => "/var/lib/p2p-coordinator/plugins",
        "message" => "Done",
        "description" => "The capital",
        "" => "text",
        other => other,
    }
}

fn integer(name: &str) -> i64 {
    match name {
        "port" => 7777,
        "cpu_cores" => 8,
        "cpu_frequency_mhz" => 3600,
        "memory_mb" => 16_384,
        "network_speed_mbps" => 1000,
        "max_players" => 50,
        "max_zones" => 5,
        "expires_in" => 3600,
        "memory_bytes" => 16 * 1024 * 1024,
        "min_samples" => 100,
        "samples" | "compared" | "calls" => 1200,
        _ => 1,
    }
}

fn number(name: &str) -> f64 {
    match name {
        "quality_score" | "average_quality_score" => 92.5,
        "latency_ms" | "average_latency_ms" | "avg_latency_ms" => 18.5,
        "max_latency_ms" | "min_bandwidth_mbps" => 100.0,
        "min_host_quality_score" => 7.0,
        "percent" | "sample_percent" => 10.0,
        "max_failure_rate" | "max_difference_rate" => 0.01,
        "p50_us" => 6.5,
        "p99_us" | "active_p99_us" => 31.0,
        _ => 0.5,
    }
}

/// The problem document of a status.
fn problem(status: &str, description: &str) -> Value {
    let number: u16 = status.parse().unwrap_or(500);
    let title = axum::http::StatusCode::from_u16(number)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error");
    let kind = |name: &str| format!("urn:p2p-coordinator:problem:{name}");
    match number {
        422 => json!({
            "type": kind("validation"), "title": "Validation failed", "status": 422, "detail": "Bad members: port",
            "errors": [{ "field": "port", "message": "must be a whole number from 1 to 65535" }],
        }),
        429 => json!({
            "type": kind("rate-limited"), "title": title, "status": 429,
            "detail": "Rate limit of 100 requests per 60 seconds exceeded; try again in 1 seconds",
            "error": "rate_limit_exceeded",
            "message": "Rate limit of 100 requests per 60 seconds exceeded; try again in 1 seconds",
            "limit": 100, "window_seconds": 60, "reset_time": 1_762_689_660,
        }),
        500 | 503 => json!({
            "type": "about:blank", "title": title, "status": number, "detail": description,
            "instance": "urn:p2p-coordinator:occurrence:9f2c41d07ab6e358",
        }),
        _ => json!({ "type": "about:blank", "title": title, "status": number, "detail": description }),
    }
}

#[cfg(test)]
mod tests;

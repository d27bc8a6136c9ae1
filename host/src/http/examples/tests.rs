//! The OpenAPI document is walked: every route has all its statuses, an example of each body that fits its schema, and says who
//! may call it as `docs/authorization.md` does.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::http::openapi_document;

fn document() -> Value {
    serde_json::from_str(&openapi_document("1.2.3").unwrap()).unwrap()
}

/// Every operation: `GET /api/v1/hosts` and what is said of it.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
        })
        .collect()
}

/// What anonymous callers get of a route, by the matrix.
fn anonymous(route: &str) -> String {
    let matrix = include_str!("../../../../docs/authorization.md");
    let head = format!("| `{}` |", route.replace(" /api/v1", " "));
    let row = matrix.lines().find(|line| line.starts_with(&head));
    let row = row.unwrap_or_else(|| panic!("docs/authorization.md lacks {head}"));
    row[head.len()..].split('|').next().unwrap().trim().to_owned()
}

#[test]
fn every_route_says_what_it_is() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (route, operation) in operations(&document) {
        assert!(operation["summary"].is_string(), "{route}: summary");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{route}: tag");
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "{route}: {id} is there twice");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["schema"].is_object(), "{route}: {parameter}");
        }
    }
}

#[test]
fn every_route_has_its_security() {
    let document = document();
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    for (route, operation) in operations(&document) {
        let security = operation["security"].as_array();
        for way in security.into_iter().flatten() {
            for name in way.as_object().unwrap().keys() {
                assert!(schemes.contains_key(name), "{route}: {name}");
            }
        }
        let wanted = anonymous(&route);
        let is_guarded = wanted.starts_with("401");
        let statuses = operation["responses"].as_object().unwrap();
        assert_eq!(
            is_guarded,
            statuses.contains_key("401") && security.is_some(),
            "{route}: {wanted}"
        );
    }
}

#[test]
fn every_route_has_every_status() {
    let document = document();
    for (route, operation) in operations(&document) {
        let statuses: BTreeSet<&str> = operation["responses"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let has = |status: &str| statuses.contains(status);
        let needs = |applies: bool, status: &str| assert!(!applies || has(status), "{route}: {status}");
        assert!(
            statuses
                .iter()
                .any(|status| status.starts_with('2') || *status == "101"),
            "{route}"
        );
        let is_exempt = [
            "GET /",
            "GET /health",
            "GET /health/live",
            "GET /health/ready",
            "GET /metrics",
        ]
        .contains(&route.as_str());
        let has_body = operation["requestBody"].is_object();
        needs(true, "500");
        needs(!is_exempt, "429");
        needs(!is_exempt, "503");
        needs(operation["security"].is_array() && !route.ends_with("/ws"), "401");
        needs(!is_exempt, "403");
        needs(has_body, "400");
        needs(has_body, "413");
        needs(has_body, "415");
        needs(has_body, "422");
        needs(route.contains('{'), "400");
        needs(route.contains('{'), "404");
    }
}

#[test]
fn every_body_has_an_example_that_fits() {
    let document = document();
    let mut bodies = 0;
    for (route, operation) in operations(&document) {
        let request = operation["requestBody"]["content"].as_object().into_iter().flatten();
        let answers = operation["responses"].as_object().unwrap().values();
        let answers = answers.flat_map(|answer| answer["content"].as_object().into_iter().flatten());
        for (kind, content) in request.chain(answers) {
            let example = content
                .get("example")
                .unwrap_or_else(|| panic!("{route}: {kind} has no example"));
            if kind.contains("json") {
                fits(&content["schema"], example, &document["components"]["schemas"], &route);
            }
            bodies += 1;
        }
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let has_none = ["101", "204"].contains(&status.as_str());
            assert_eq!(
                answer["content"].is_object(),
                !has_none,
                "{route}: {status} and its body"
            );
        }
    }
    assert!(bodies > 300, "{bodies}");
}

/// What of JSON Schema the document uses.
fn fits(schema: &Value, value: &Value, schemas: &Value, at: &str) {
    if let Some(target) = schema["$ref"].as_str() {
        let name = target.rsplit('/').next().unwrap();
        assert!(schemas[name].is_object(), "{at}: no schema {name}");
        return fits(&schemas[name], value, schemas, &format!("{at} {name}"));
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fits(part, value, schemas, at);
    }
    if let Some(kinds) = schema["oneOf"].as_array() {
        return fits(&kinds[0], value, schemas, at);
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().map(|kind| kind.as_str().unwrap()).collect(),
        _ => return,
    };
    let is = kinds.iter().any(|kind| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{at}: type {other}"),
    });
    assert!(is, "{at}: {value} is not {kinds:?}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value} is not in {words:?}");
    }
    if let (Some(number), Some(least)) = (value.as_f64(), schema["minimum"].as_f64()) {
        assert!(number >= least, "{at}: {value} is less than {least}");
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(name.as_str().unwrap()).is_some(), "{at}: {name} is missing");
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            fits(member, value, schemas, &format!("{at}.{name}"));
        }
    }
    for entry in value.as_array().into_iter().flatten() {
        fits(&schema["items"], entry, schemas, at);
    }
}

//! One spelling for every path, before routing: no trailing slash, and `/api/v1` for the API under both its prefixes.
//!
//! Clients in the field do not follow redirects on POST, so nothing is redirected.

use std::borrow::Cow;

use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{Method, Uri};

use crate::http::console::ThroughConsole;

/// Paths that live at the root and answer under the prefixes too.
const AT_ROOT: [&str; 5] = ["health", "metrics", "openapi.json", "asyncapi.json", "docs"];

/// Gives the request's path its one spelling.
pub fn respell(request: &mut Request) {
    if request.uri().path().starts_with("/console/") {
        request.extensions_mut().insert(ThroughConsole);
    }
    if let Cow::Owned(path) = canonical(request.method(), request.uri().path())
        && let Some(uri) = replaced(request.uri(), path)
    {
        *request.uri_mut() = uri;
    }
}

fn replaced(uri: &Uri, mut path: String) -> Option<Uri> {
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

/// The one spelling of a path; borrowed when it is written so already.
fn canonical<'a>(method: &Method, path: &'a str) -> Cow<'a, str> {
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    if let Some(rest) = trimmed.strip_prefix("/console/api/") {
        return for_the_console(method, rest).map_or(Cow::Borrowed(path), Cow::Owned);
    }
    let Some(rest) = trimmed.strip_prefix("/api") else {
        return spelled(path, if trimmed.is_empty() { "/" } else { trimmed });
    };
    let rest = match rest.strip_prefix("/v1") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => rest,
    };
    if rest.is_empty() {
        return Cow::Owned("/".to_owned());
    }
    let Some(inner) = rest.strip_prefix('/') else {
        // `/apix` is no prefix of ours.
        return spelled(path, trimmed);
    };
    let first = inner.split('/').next().unwrap_or_default();
    if AT_ROOT.contains(&first) {
        Cow::Owned(rest.to_owned())
    } else if path.len() == trimmed.len() && trimmed.starts_with("/api/v1/") {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(format!("/api/v1{rest}"))
    }
}

/// What the console may ask of the API: all of the policies, and to read what it shows. It gives out no tokens and plays nobody.
fn for_the_console(method: &Method, rest: &str) -> Option<String> {
    let first = rest.split('/').next().unwrap_or_default();
    let is_open = match first {
        "plugins" | "decisions" => true,
        "hosts" | "zones" | "sessions" => method.is_safe(),
        _ => false,
    };
    is_open.then(|| format!("/api/v1/{rest}"))
}

fn spelled<'a>(given: &'a str, wanted: &'a str) -> Cow<'a, str> {
    if given == wanted {
        Cow::Borrowed(given)
    } else {
        Cow::Owned(wanted.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_prefixes_and_slashes_are_one() {
        for (given, wanted) in [
            ("/", "/"),
            ("/api", "/"),
            ("/api/v1/", "/"),
            ("/health/", "/health"),
            ("/api/health", "/health"),
            ("/api/v1/docs/", "/docs"),
            ("/api/v1/hosts", "/api/v1/hosts"),
            ("/api/v1/hosts/", "/api/v1/hosts"),
            ("/api/hosts/x/heartbeat/", "/api/v1/hosts/x/heartbeat"),
            ("/apix/y/", "/apix/y"),
            ("/hosts", "/hosts"),
            ("/api/v1x/y", "/api/v1/v1x/y"),
            ("/console/", "/console"),
            ("/api/console/session", "/api/v1/console/session"),
            ("/console/api/plugins/", "/api/v1/plugins"),
            ("/console/api/auth/token", "/console/api/auth/token"),
            ("/console/api/hosts/x/heartbeat", "/console/api/hosts/x/heartbeat"),
        ] {
            assert_eq!(canonical(&Method::POST, given), wanted, "{given}");
        }
        assert!(matches!(canonical(&Method::GET, "/api/v1/hosts"), Cow::Borrowed(_)));
    }

    #[test]
    fn the_query_survives() {
        let uri = Uri::from_static("http://h:1/api/hosts/?a=b");
        let uri = replaced(&uri, canonical(&Method::GET, uri.path()).into_owned()).unwrap();
        assert_eq!(uri.to_string(), "http://h:1/api/v1/hosts?a=b");
    }
}

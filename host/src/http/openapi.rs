//! The OpenAPI 3.1 document: what all operations share. Each operation is described where its handler is.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr};

use super::error::{PROBLEM_JSON, Problem};
use super::examples;

/// The frame that the routes fill.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "P2P Coordinator",
        description = "Coordinator for hybrid peer-to-peer games: who offers to host, which zones run peer-to-peer, who plays \
            with whom, and the introduction of their machines to each other.\n\nThe messages of the WebSocket are described in \
            [asyncapi.json](/asyncapi.json). Operators have a [console](/console).\n\nEvery path answers under `/api/v1` and \
            `/api`, with and without a trailing slash. Every error is a problem document (RFC 9457) with `status` and `detail`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem)),
    tags(
        (name = "service", description = "What the service is and whether it is well"),
        (name = "auth", description = "Tokens for players"),
        (name = "hosts", description = "Machines of players that offer to serve"),
        (name = "zones", description = "Parts of the world, and which run peer-to-peer"),
        (name = "sessions", description = "Players of one zone on one host"),
        (name = "signaling", description = "Introduction of peers over a WebSocket"),
        (name = "monitoring", description = "Aggregate numbers"),
        (name = "plugins", description = "The policies in their slots"),
        (name = "decisions", description = "What policies decided on this node, and why")
    )
)]
pub struct Frame;

/// The WebSocket.
const SOCKET: &str = "/api/v1/signaling/ws";

/// Adds what operations share: security schemes, and the errors each may answer.
pub fn complete(document: &mut OpenApi, version: &str) {
    version.clone_into(&mut document.info.version);
    let components = document.components.get_or_insert_with(Default::default);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    let key = ApiKeyValue::with_description("X-API-Key", "The game server and operators: may do all");
    components.add_security_scheme(
        "token",
        SecurityScheme::Http(bearer.description(Some("A player's access token")).build()),
    );
    components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(key)));
    for (path, item) in &mut document.paths.paths {
        let public = ["/health", "/metrics", "/openapi.json"]
            .iter()
            .any(|root| path.starts_with(root))
            || path == "/";
        for operation in operations(item) {
            let takes_input = operation.request_body.is_some() || operation.parameters.is_some();
            // A socket is opened whatever it presents, and closed when that is bad.
            let guarded = operation.security.is_some() && path != SOCKET;
            name(operation);
            let has_body = operation.request_body.is_some();
            let shared = [
                (guarded, "401", "No credential, or a bad one"),
                (
                    guarded,
                    "403",
                    "A good credential without the right, or the rate-limit policy denies",
                ),
                (!public, "403", "The rate-limit policy denies"),
                (
                    has_body || path.contains('{'),
                    "400",
                    "The path or the body cannot be read",
                ),
                (path.contains('{'), "404", "No such thing"),
                (has_body, "413", "The body is too large"),
                (has_body, "415", "The body is not JSON"),
                (takes_input, "422", "Bad members; `errors` names each"),
                (
                    !public,
                    "429",
                    "Too many requests; `Retry-After` says when to try again",
                ),
                (true, "500", "A fault of the service"),
                (
                    !public,
                    "503",
                    "A part of the service is away; `Retry-After` says when to try again",
                ),
            ];
            for (applies, status, description) in shared {
                if applies {
                    add(operation, status, description);
                }
            }
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response
                    && response.content.is_empty()
                    && status.starts_with(['4', '5'])
                {
                    *response = problem(response.description.clone());
                }
            }
        }
    }
    examples::add(document);
}

pub(super) fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        get,
        put,
        post,
        delete,
        patch,
        ..
    } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

/// Puts the tag before the handler's name, which is not unique: generators of clients need unique ids.
fn name(operation: &mut Operation) {
    if let (Some(id), Some([tag, ..])) = (&mut operation.operation_id, operation.tags.as_deref()) {
        *id = format!("{tag}_{id}");
    }
}

/// Gives the operation this answer, unless it has it.
fn add(operation: &mut Operation, status: &str, description: &str) {
    let answers = &mut operation.responses.responses;
    answers
        .entry(status.to_owned())
        .or_insert_with(|| RefOr::T(problem(description.to_owned())));
}

fn problem(description: String) -> Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    ResponseBuilder::new()
        .description(description)
        .content(PROBLEM_JSON, content)
        .build()
}

//! What `/metrics` is made of: families, types and labels as they were reviewed, and nothing that a client chose.

use std::collections::{BTreeMap, BTreeSet};

use p2p_coordinator_tests::releases::push;
use p2p_coordinator_tests::server::API_KEY;

use p2p_coordinator_tests::shapes::{heartbeat, host, session, with};
use p2p_coordinator_tests::{Client, Options, Redis, Server, Ws, eventually, postgres};
use reqwest::Method;
use serde_json::json;

use crate::npcs::AiService;
use crate::policies::{bundled, repository, variant};

const SLOTS: [&str; 3] = ["host-selection", "npc-transform", "rate-limit"];

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap()
}

async fn text(server: &Server) -> String {
    let answer = server.anonymous().absolute(Method::GET, "/metrics", None).await;
    assert_eq!(answer.status, 200, "{answer}");
    answer.body
}

/// The name of a series and its labels, without its value.
fn series(line: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let (series, _) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let Some((name, labels)) = series.split_once('{') else {
        return Some((series, Vec::new()));
    };
    let labels = labels.strip_suffix('}')?.split(',');
    Some((name, labels.filter_map(|label| label.split_once('=')).collect()))
}

/// Each family as `name type labels`, sorted.
fn families(text: &str) -> BTreeSet<String> {
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: BTreeMap<&str, &str> = types.collect();
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, found) in text.lines().filter_map(series) {
        let ends = ["_bucket", "_sum", "_count"];
        let stem = ends.iter().find_map(|end| name.strip_suffix(end));
        let family = stem.filter(|stem| types.contains_key(stem)).unwrap_or(name);
        let names = found.iter().map(|(label, _)| *label).filter(|label| *label != "le");
        labels.entry(family).or_default().extend(names);
    }
    let lines = labels.into_iter().map(|(family, labels)| {
        let labels = Vec::from_iter(labels).join(",");
        format!("{family} {} {labels}", types[family]).trim_end().to_owned()
    });
    lines.collect()
}

/// A server with all that has metrics.
fn everything(redis: &Redis, ai: &AiService, database: &postgres::Database) -> Options {
    Options::default()
        .env("DATABASE_URL", database.url())
        .env("REDIS_URL", redis.url())
        .env("RATE_LIMIT_ENABLED", "true")
        .env("AI_SERVICE_ENABLED", "true")
        .env("AI_SERVICE_URL", ai.url())
        .env("NPC_BROADCAST_INTERVAL", 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn families_types_and_labels_are_those_that_were_reviewed() {
    let (redis, ai, database) = (Redis::start(), AiService::start().await, postgres::database());
    let server = everything(&redis, &ai, &database).start();
    let operator = server.operator();
    for slot in SLOTS {
        let id = push(&operator, slot, &variant(bundled(slot), 1), "").await;
        let activate = format!("/plugins/{slot}/activate");
        let _ = operator.post(&activate, &json!({ "release_id": id })).await.ok(200);
    }
    let made = session(&operator, "one", "alice", &["p1", "p2"]).await;
    let id = made["session_id"].as_str().unwrap();
    let mut one = Ws::joined(&server, "p1", id).await;
    let mut two = Ws::joined(&server, "p2", id).await;
    // Each thread times the first message that it relays.
    one.send(&json!({ "type": "offer", "to": "p2", "sdp": "v=0" })).await;
    let _ = two.wait_for("offer").await;
    let _ = two.wait_for("npc-state").await;
    // A message for somebody who is away goes through the fleet.
    let mut three = Ws::open(&server, "peer_id=p3&resumable=true", &[("x-api-key", API_KEY)]).await;
    three.join(id).await;
    drop(three);
    let one = tokio::sync::Mutex::new(one);
    let reviewed: BTreeSet<String> = read("tests/fixtures/metrics.txt").lines().map(str::to_owned).collect();
    eventually("every family has series", || async {
        let offer = json!({ "type": "offer", "to": "p3", "sdp": "v=0" });
        one.lock().await.send(&offer).await;
        let found = families(&text(&server).await);
        found.is_superset(&reviewed).then_some(())
    })
    .await;
    let found = families(&text(&server).await);
    let news: Vec<_> = found.difference(&reviewed).collect();
    assert!(news.is_empty(), "tests/fixtures/metrics.txt has no {news:#?}");
}

#[test]
fn the_documents_have_every_family_and_label() {
    let page = read("docs/operate.md");
    let rows: BTreeMap<&str, &str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter(|(name, _)| name.starts_with("p2p_"))
        .collect();
    let reviewed = read("tests/fixtures/metrics.txt");
    assert_eq!(rows.len(), reviewed.lines().count(), "{:?}", rows.keys());
    for line in reviewed.lines() {
        let mut words = line.split(' ');
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        let row = rows.get(name).unwrap_or_else(|| panic!("{name} is not documented"));
        assert!(row.starts_with(&format!("{kind} |")), "{name}: {row}");
        for label in words
            .next()
            .unwrap_or_default()
            .split(',')
            .filter(|label| !label.is_empty())
        {
            assert!(row.contains(&format!("`{label}`")), "{name}: {label} is not documented");
        }
    }
}

/// A client that puts a word wherever it has a choice.
async fn choose(server: &Server, session_id: &str, word: &str) {
    let client = |client: Client| client.with_header("user-agent", word).with_header("x-request-id", word);
    let (operator, anonymous) = (client(server.operator()), client(server.anonymous()));
    let labels = json!({ "region": word, "labels": { word: word }, "player_name": word });
    let _ = operator
        .post("/hosts/register", &with(host(word, word), &labels))
        .await
        .ok(201);
    let _ = operator
        .post(&format!("/hosts/{word}/heartbeat"), &heartbeat())
        .await
        .ok(200);
    let _ = operator.delete(&format!("/hosts/{word}")).await;
    let _ = operator.get(&format!("/zones/{word}")).await.problem(404);
    let _ = operator.get(&format!("/sessions/{word}")).await.problem(404);
    let _ = operator.get(&format!("/sessions/?zone={word}")).await;
    let _ = operator.poke(&format!("/plugins/{word}/{word}")).await;
    let _ = anonymous
        .absolute(Method::GET, &format!("/{word}/{word}?{word}={word}"), None)
        .await;
    let method = Method::from_bytes(word.to_uppercase().as_bytes()).unwrap();
    let _ = anonymous.absolute(method, "/api/v1/zones/", None).await;
    let mut peer = Ws::peer(server, word).await;
    peer.join(session_id).await;
    for message in [
        json!({ "type": word, "to": word, word: word }),
        json!({ "type": "offer", "to": word, "sdp": word, "id": word }),
        json!({ "type": "join", "session_id": word }),
    ] {
        peer.send(&message).await;
    }
    peer.send_text(word).await;
    // When this is answered, all that came before is served.
    peer.send(&json!({ "type": "join", "session_id": session_id })).await;
    let _ = peer.wait_for("session-joined").await;
    peer.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_client_chose_becomes_a_label() {
    let server = Options::default().start();
    let made = session(&server.operator(), "one", "alice", &["p1", "p2"]).await;
    let session_id = made["session_id"].as_str().unwrap();
    let counted = |text: &str| {
        let all = text.lines().filter_map(series);
        all.filter(|(name, _)| !name.starts_with("p2p_task_")).count()
    };
    choose(&server, session_id, "zqchosen0").await;
    // Asking is a request of its own.
    let _ = text(&server).await;
    let before = counted(&text(&server).await);
    for number in 1..6 {
        choose(&server, session_id, &format!("zqchosen{number}")).await;
    }
    let after = text(&server).await;
    for word in ["zqchosen", "one", session_id, "p1"] {
        let labels = after.lines().filter_map(series).flat_map(|(_, labels)| labels);
        let of_it = labels.filter(|(_, value)| value.to_lowercase().contains(word));
        let of_it: Vec<_> = of_it
            .filter(|(_, value)| word != "one" || *value == "\"one\"")
            .collect();
        assert_eq!(of_it, [], "{word}");
    }
    assert_eq!(
        before,
        counted(&after),
        "the same requests with other words make no series"
    );
}

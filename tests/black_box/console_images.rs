//! A busy coordinator as the console shows it. `CONSOLE_IMAGES=1` keeps the pictures in `docs/images`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use p2p_coordinator_tests::browser::{Browser, Driver};
use p2p_coordinator_tests::releases::push;
use p2p_coordinator_tests::shapes::{host, with, zone};
use p2p_coordinator_tests::{Client, Options, Server, Ws};
use serde_json::{Value, json};

use crate::console::{is_clean, sign_in};
use crate::npcs::AiService;
use crate::policies::{bundled, variant};

/// What a picture may weigh, in bytes.
const MOST: usize = 150 * 1024;
/// Readings that the charts show.
const READINGS: u32 = 62;
const SLOT: &str = "host-selection";

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_coordinator_is_shown_on_every_page() {
    let ai = AiService::start().await;
    let server = Options::default()
        .env("SERVICE_NAME", "p2p-coordinator")
        .env("AI_SERVICE_ENABLED", "true")
        .env("AI_SERVICE_URL", ai.url())
        .env("NPC_BROADCAST_INTERVAL", 1)
        .env("RATE_LIMIT_ENABLED", "true")
        .env("RATE_LIMIT_API_REQUESTS", 5000)
        .start();
    let server = Arc::new(server);
    let operator = server.operator();
    let session_id = world(&operator).await;
    let candidate = push(&operator, SLOT, &variant(bundled(SLOT), 1), "prefers close hosts").await;
    let shadow = json!({ "release_id": candidate, "mode": "shadow", "sample_percent": 100, "note": "a first look" });
    let _ = operator
        .post(&format!("/plugins/{SLOT}/rollout"), &shadow)
        .await
        .ok(200);
    let over = Arc::new(AtomicBool::new(false));
    let life = tokio::spawn(live(Arc::clone(&server), session_id, Arc::clone(&over)));

    let driver = Driver::start();
    let browser = driver.browser().await;
    browser.requests().await;
    size(&browser, 1280, 900).await;
    sign_in(&browser, &server).await;
    let since = browser
        .run("return performance.now()", &json!([]))
        .await
        .as_f64()
        .unwrap();
    let readings = if keeps() { READINGS } else { 3 };
    for reading in 0..=readings {
        p2p_coordinator_tests::eventually("another reading", || async {
            let now = browser
                .run("return performance.now()", &json!([]))
                .await
                .as_f64()
                .unwrap();
            (now - since > 1000.0 * f64::from(reading)).then_some(())
        })
        .await;
    }
    picture(&browser, "overview").await;
    for (page, there, name) in [
        ("Hosts", "//tr[td[.='prontera-1']]", "hosts"),
        ("Sessions", "//span[.='active']", "sessions"),
        ("Policies", "//section[@id='rollout']//h2[.='Shadow']", "policies"),
    ] {
        browser.click(&format!("//nav//a[.='{page}']")).await;
        browser.sees(there).await;
        picture(&browser, name).await;
    }
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.devtools("Emulation.setEmulatedMedia", &dark).await;
    size(&browser, 390, 844).await;
    browser.click("//nav//a[.='Overview']").await;
    browser.sees("//dl[dt='Hosts online']/dd[.='9']").await;
    picture(&browser, "phone").await;
    is_clean(&browser, &server).await;
    size(&browser, 1280, 900).await;
    browser.click("//nav//a[.='Decisions']").await;
    browser.sees("//h1[.='Decisions']").await;
    browser.quit().await;
    over.store(true, Ordering::Relaxed);
    life.await.unwrap();
}

/// Zones, hosts of several strengths, sessions. Returns the session that is going to be lively.
async fn world(operator: &Client) -> String {
    for name in ["prontera", "geffen", "payon"] {
        let _ = operator.post("/zones/", &zone(name)).await.ok(201);
    }
    for number in 1..=9_u32 {
        let name = format!("prontera-{number}");
        let region = ["eu-west", "eu-central", "us-east"][number as usize % 3];
        let facts = json!({ "region": region, "cpu_cores": 2 + number, "memory_mb": 2048 * number, "player_name": format!("Player {number}") });
        let host = with(host(&name, &format!("player-{number}")), &facts);
        let _ = operator.post("/hosts/register", &host).await.ok(201);
        beat(operator, number, 0).await;
    }
    let mut lively = String::new();
    for (number, zone) in ["prontera", "geffen", "prontera", "payon"].into_iter().enumerate() {
        let players: Vec<String> = (0..=number).map(|player| format!("guest-{number}{player}")).collect();
        let wanted = json!({ "zone_id": zone, "player_ids": players });
        let session = operator.post("/sessions/", &wanted).await.ok(201);
        lively = session["session_id"].as_str().unwrap().to_owned();
        let _ = operator.poke(&format!("/sessions/{lively}/activate")).await.ok(200);
        if number == 1 {
            let _ = operator.poke(&format!("/sessions/{lively}/end")).await.ok(200);
        }
    }
    lively
}

async fn beat(operator: &Client, number: u32, round: u32) {
    let measured = json!({
        "latency_ms": 8 * number + round % 7,
        "packet_loss_percent": f64::from(number * round % 5) / 10.0,
        "bandwidth_usage_mbps": 10 + number,
        "current_players": (number * 3 + round) % 40,
        "current_zones": number % 3,
    });
    let _ = operator
        .post(&format!("/hosts/prontera-{number}/heartbeat"), &measured)
        .await;
}

/// Two peers that signal, hosts that report, and somebody who asks too often.
async fn live(server: Arc<Server>, session_id: String, over: Arc<AtomicBool>) {
    let operator = server.operator();
    let mut first = Ws::joined(&server, "guest-30", &session_id).await;
    let second = Ws::joined(&server, "guest-31", &session_id).await;
    let mut round = 0;
    while !over.load(Ordering::Relaxed) {
        round += 1;
        for kind in ["offer", "answer"] {
            first
                .send(&json!({ "type": kind, "to": "guest-31", "sdp": "v=0" }))
                .await;
        }
        for _ in 0..=round % 4 {
            first
                .send(&json!({ "type": "ice-candidate", "to": "guest-31", "candidate": "c" }))
                .await;
        }
        beat(&operator, 1 + round % 9, round).await;
        let guess = json!({ "player_id": "p", "api_key": "guess" });
        let _ = server.anonymous().post("/auth/token", &guess).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    drop(second);
}

async fn size(browser: &Browser, width: u32, height: u32) {
    let wanted = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
    browser.devtools("Emulation.setDeviceMetricsOverride", &wanted).await;
}

async fn picture(browser: &Browser, name: &str) {
    let shot = browser
        .devtools(
            "Page.captureScreenshot",
            &json!({ "format": "png", "optimizeForSpeed": false }),
        )
        .await;
    let png = decoded(&shot);
    assert!(
        png.starts_with(b"\x89PNG") && png.len() < MOST,
        "{name}: {} bytes",
        png.len()
    );
    if keeps() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("console-{name}.png")), png).unwrap();
    }
}

fn decoded(shot: &Value) -> Vec<u8> {
    use base64::Engine as _;
    let text = shot["data"].as_str().unwrap();
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

fn keeps() -> bool {
    std::env::var_os("CONSOLE_IMAGES").is_some()
}

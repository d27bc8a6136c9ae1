//! The console in a real browser: signed in to, read live, used to release a policy, and signed out of.

use p2p_coordinator_tests::axe;
use p2p_coordinator_tests::browser::{Browser, Driver};
use p2p_coordinator_tests::server::API_KEY;
use p2p_coordinator_tests::shapes::{heartbeat, host, session, with, zone};
use p2p_coordinator_tests::{Options, Server, eventually};
use serde_json::json;

use crate::policies::fixture;

const KEY_FIELD: &str = "//input[@id='key']";
const ENTER: &str = "\u{E007}";

pub async fn sign_in(browser: &Browser, server: &Server) {
    browser.open(&server.url("/console")).await;
    browser.sees("//h1[.='Sign in']").await;
    browser.type_into(KEY_FIELD, &format!("{API_KEY}{ENTER}")).await;
    browser.sees("//h1[.='Overview']").await;
    browser.sees("//span[@id='link'][.='live']").await;
}

/// No error, no violation of the policy, and no request to another host.
pub async fn is_clean(browser: &Browser, server: &Server) {
    let said = browser.console().await;
    assert!(said.is_empty(), "the page complained: {said:#?}");
    let own = server.url("/");
    for url in browser.requests().await {
        let is_own = url.starts_with(&own) || url.starts_with("data:");
        assert!(is_own && !url.contains(API_KEY), "the page asked for {url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_watches_hosts_and_sessions_live() {
    let server = Server::start();
    let operator = server.operator();
    let driver = Driver::start();
    let browser = driver.browser().await;
    browser.requests().await;
    sign_in(&browser, &server).await;
    let kept = browser
        .run(
            "return [document.cookie, localStorage.length, sessionStorage.length, location.href]",
            &json!([]),
        )
        .await;
    assert_eq!(kept, json!(["", 0, 0, server.url("/console")]));

    browser.click("//nav//a[.='Hosts']").await;
    browser.reads("No host matches.").await;
    let _ = operator.post("/hosts/register", &host("h1", "alice")).await.ok(201);
    browser.sees("//tr[td[.='h1']]//span[.='online']").await;
    let mut beat = heartbeat();
    beat["current_players"] = json!(7);
    let _ = operator.post("/hosts/h1/heartbeat", &beat).await.ok(200);
    browser.sees("//tr[td[.='h1']]/td[.='7 / 50']").await;

    browser.click("//nav//a[.='Sessions']").await;
    let made = session(&operator, "live", "alice", &["bob", "carol"]).await;
    let id = made["session_id"].as_str().unwrap();
    browser.sees(&format!("//tr[td[.='{id}']]//span[.='active']")).await;
    browser.reads("bob, carol").await;
    let _ = operator.poke(&format!("/sessions/{id}/end")).await.ok(200);
    browser
        .sees(&format!("//section[h2='Over']//tr[td[.='{id}']]//span[.='ended']"))
        .await;

    browser.click("//nav//a[.='Overview']").await;
    browser.sees("//dl[dt='Hosts online']/dd[.='2']").await;
    browser.sees("//tr[td[.='zone-live']]//span[.='enabled']").await;
    is_clean(&browser, &server).await;

    // Loaded anew, the page is still signed in and has its charts.
    browser.open(&server.url("/console")).await;
    browser.sees("//span[@id='link'][.='live']").await;
    let drawn = "return document.querySelector('.chart polyline').getAttribute('points').split(' ').length";
    let readings = browser.run(drawn, &json!([])).await;
    assert!(readings.as_u64() > Some(2), "{readings} readings in the chart");
    is_clean(&browser, &server).await;

    // The service goes, and comes back as another one: the console goes on by itself, the session is still good.
    server.terminate();
    let mut server = server;
    assert!(server.wait().success());
    assert!(!server.log().contains("cut off"), "the open stream held the drain up");
    browser.sees("//span[@id='link'][.='reconnecting']").await;
    let server = server.again_in_place();
    browser.sees("//span[@id='link'][.='live']").await;
    browser.console().await;

    browser.click("//button[.='Sign out']").await;
    browser.sees("//h1[.='Sign in']").await;
    is_clean(&browser, &server).await;
    browser.open(&server.url("/console#hosts")).await;
    browser.sees("//h1[.='Sign in']").await;
    browser.quit().await;
}

/// Confirms what is asked before a decision.
async fn confirm(browser: &Browser, why: &str) {
    browser.sees("//dialog[@open]").await;
    browser.type_into("//input[@id='ask-note']", why).await;
    browser.click("//dialog[@open]//button[@value='yes']").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_uploaded_watched_in_the_shadow_promoted_and_rolled_back() {
    let server = Server::start();
    let operator = server.operator();
    let _ = operator.post("/hosts/register", &host("h1", "alice")).await.ok(201);
    let component = server.home().join("next.wasm");
    std::fs::write(&component, fixture("host-selection", "good")).unwrap();
    let driver = Driver::start();
    let browser = driver.browser().await;
    browser.requests().await;
    sign_in(&browser, &server).await;
    browser.click("//nav//a[.='Policies']").await;
    browser.sees("//dd[.='default-host-selection 1.0.0']").await;
    browser.reads("1 of 1 node on the bundled policy").await;

    browser
        .type_into("//input[@id='component']", component.to_str().unwrap())
        .await;
    browser.type_into("//input[@id='note']", "from the console").await;
    browser.click("//button[.='Store the release']").await;
    browser.sees("//tr[td[.='from the console']]").await;
    browser
        .click("//tr[td[.='from the console']]//button[.='Shadow']")
        .await;
    confirm(&browser, "a first look").await;
    browser.sees("//section[@id='rollout']//h2[.='Shadow']").await;
    browser.sees("//tr[td[.='from the console']]//span[.='shadow']").await;
    // The fixture scores every host 42: each compared answer differs.
    eventually("differences are shown", || async {
        let beaten = operator.post("/hosts/h1/heartbeat", &heartbeat()).await.ok(200);
        assert!(beaten["quality_score"].as_f64() > Some(90.0), "a shadow answers nobody");
        let seen = browser
            .run("return document.getElementById('rollout').innerText", &json!([]))
            .await;
        seen.as_str().unwrap().contains("(100 %;").then_some(())
    })
    .await;
    browser.sees("//section[@id='rollout']//tr/td[4][.='42']").await;
    axe::finds_nothing_serious(&browser, "policies with a shadow").await;

    browser.click("//section[@id='rollout']//button[.='Promote']").await;
    confirm(&browser, "it is better").await;
    browser.sees("//tr[td[.='from the console']]//span[.='active']").await;
    browser.sees("//dd[contains(., '9.9.9')]").await;
    let beaten = operator.post("/hosts/h1/heartbeat", &heartbeat()).await.ok(200);
    assert!((beaten["quality_score"].as_f64().unwrap() - 42.0).abs() < 1e-9);

    browser.click("//button[.='Roll back']").await;
    confirm(&browser, "on second thought").await;
    browser.sees("//dd[.='default-host-selection 1.0.0']").await;
    browser
        .sees("//tr[td[.='rollback'] and td[.='on second thought']]")
        .await;
    let beaten = operator.post("/hosts/h1/heartbeat", &heartbeat()).await.ok(200);
    assert!(beaten["quality_score"].as_f64() > Some(90.0));
    let actions: Vec<String> = operator
        .get("/plugins/host-selection/audit")
        .await
        .ok(200)
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(actions, ["rollback", "promote", "rollout", "upload"]);
    is_clean(&browser, &server).await;

    // What is refused is told, with the step.
    std::fs::write(&component, b"no component").unwrap();
    browser
        .type_into("//input[@id='component']", component.to_str().unwrap())
        .await;
    browser.click("//button[.='Store the release']").await;
    browser.sees("//form[@id='upload']//p[@role='alert']").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_says_why_it_got_its_host() {
    let server = Server::start();
    let operator = server.operator();
    let _ = operator.post("/zones/", &zone("prontera")).await.ok(201);
    let weak = with(
        host("weak", "bob"),
        &json!({ "cpu_cores": 1, "memory_mb": 1024, "network_speed_mbps": 50 }),
    );
    let _ = operator.post("/hosts/register", &weak).await.ok(201);
    let _ = operator.post("/hosts/register", &host("strong", "alice")).await.ok(201);
    let wanted = json!({ "zone_id": "prontera", "player_ids": ["carol"] });
    let session = operator.post("/sessions/", &wanted).await.ok(201);
    let id = session["session_id"].as_str().unwrap();
    let driver = Driver::start();
    let browser = driver.browser().await;
    browser.requests().await;
    sign_in(&browser, &server).await;
    browser.click("//nav//a[.='Sessions']").await;
    browser.click(&format!("//tr[td[.='{id}']]//a[.='why?']")).await;
    browser.sees(&format!("//h2[.='Why: {id}']")).await;
    browser
        .sees("//section[@id='decision']//tr[td[.='1.'] and td[.='strong']]")
        .await;
    browser
        .sees("//section[@id='decision']//tr[td[.='–'] and td[.='weak']]")
        .await;
    axe::finds_nothing_serious(&browser, "a decision").await;
    is_clean(&browser, &server).await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_open_to_everybody() {
    let server = Server::start();
    let operator = server.operator();
    let _ = session(&operator, "a", "alice", &["bob"]).await;
    let driver = Driver::start();
    let browser = driver.browser().await;
    browser.open(&server.url("/")).await;
    axe::finds_nothing_serious(&browser, "front").await;
    browser.open(&server.url("/console")).await;
    browser.sees("//h1[.='Sign in']").await;
    axe::finds_nothing_serious(&browser, "sign-in").await;
    // By keyboard alone: the key field has the focus, then links in their order.
    browser.press(API_KEY).await;
    browser.press(ENTER).await;
    browser.sees("//span[@id='link'][.='live']").await;
    for scheme in ["light", "dark"] {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.devtools("Emulation.setEmulatedMedia", &features).await;
        for (page, there) in PAGES {
            browser.click(&format!("//nav//a[.='{page}']")).await;
            browser.sees(there).await;
            axe::finds_nothing_serious(&browser, &format!("{page}, {scheme}")).await;
        }
    }
    // On a phone nothing is wider than the screen.
    let phone = json!({ "width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true });
    browser.devtools("Emulation.setDeviceMetricsOverride", &phone).await;
    for (page, there) in PAGES {
        browser.click(&format!("//nav//a[.='{page}']")).await;
        browser.sees(there).await;
        let width = browser
            .run("return document.documentElement.scrollWidth", &json!([]))
            .await;
        assert!(width.as_u64() <= Some(390), "{page} is {width} wide");
        axe::finds_nothing_serious(&browser, &format!("{page} on a phone")).await;
    }
    // The focus goes through the page, and is always to be seen somewhere in it.
    browser.run("document.getElementById('main').focus()", &json!([])).await;
    for _ in 0..5 {
        browser.press("\u{E004}").await;
        let tag = browser.run("return document.activeElement.tagName", &json!([])).await;
        assert_ne!(tag, "BODY");
    }
    browser.quit().await;
}

/// Each page, and what is there when it has been filled.
const PAGES: [(&str, &str); 5] = [
    ("Overview", "//tr[td[.='zone-a']]"),
    ("Hosts", "//tr[td[.='host-a']]"),
    ("Sessions", "//tr[td[.='zone-a']]"),
    ("Policies", "//dd[.='default-host-selection 1.0.0']"),
    ("Decisions", "//h1[.='Decisions']"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_and_forgotten() {
    let server = Options::default().start();
    let driver = Driver::start();
    let browser = driver.browser().await;
    browser.open(&server.url("/")).await;
    browser.click("//a[.='Console']").await;
    browser.type_into(KEY_FIELD, &format!("wrong{ENTER}")).await;
    browser.sees("//p[@role='alert'][.='This is not the API key']").await;
    let left = browser
        .run("return document.getElementById('key').value", &json!([]))
        .await;
    assert_eq!(left, "");
    browser.quit().await;
}

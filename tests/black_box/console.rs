//! The console in a real browser: signed in to, read live, used to release a policy, and signed out of.

use p2p_coordinator_tests::browser::{Browser, Driver};
use p2p_coordinator_tests::server::API_KEY;
use p2p_coordinator_tests::shapes::{heartbeat, host, session};
use p2p_coordinator_tests::{Options, Server};
use serde_json::json;

const KEY_FIELD: &str = "//input[@id='key']";
const ENTER: &str = "\u{E007}";

async fn sign_in(browser: &Browser, server: &Server) {
    browser.open(&format!("http://{}/console", server.address())).await;
    browser.sees("//h1[.='Sign in']").await;
    browser.type_into(KEY_FIELD, &format!("{API_KEY}{ENTER}")).await;
    browser.sees("//h1[.='Overview']").await;
    browser.sees("//span[@id='link'][.='live']").await;
}

/// No error, no violation of the policy, and no request to another host.
async fn is_clean(browser: &Browser, server: &Server) {
    let said = browser.console().await;
    assert!(said.is_empty(), "the page complained: {said:#?}");
    let own = format!("http://{}/", server.address());
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
    assert_eq!(kept, json!(["", 0, 0, format!("http://{}/console", server.address())]));

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
    browser
        .open(&format!("http://{}/console#hosts", server.address()))
        .await;
    browser.sees("//h1[.='Sign in']").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_and_forgotten() {
    let server = Options::default().start();
    let driver = Driver::start();
    let browser = driver.browser().await;
    browser.open(&format!("http://{}/", server.address())).await;
    browser.click("//a[.='Console']").await;
    browser.type_into(KEY_FIELD, &format!("wrong{ENTER}")).await;
    browser.sees("//p[@role='alert'][.='This is not the API key']").await;
    let left = browser
        .run("return document.getElementById('key').value", &json!([]))
        .await;
    assert_eq!(left, "");
    browser.quit().await;
}

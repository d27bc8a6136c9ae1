//! The connection: its forms, its calls, and every way to lose and find a server.

use std::time::Instant;

use p2p_coordinator_tests::redis::Sentinels;
use redis::cmd;

use super::*;

/// Sets a key, reads it back, and publishes to a subscription: all that the parts of live state do.
async fn works(connection: &Connection) {
    let set = Script::new("redis.call('SET', KEYS[1], ARGV[1], 'EX', 60) return redis.call('GET', KEYS[1])");
    let key = connection.keys().name(&["test", "works"]);
    for value in ["a", "b"] {
        let seen: String = connection.eval(&set, &[&key], &(value,)).await.unwrap();
        assert_eq!(seen, value);
    }
    let channel = connection.keys().name(&["test", "channel"]);
    let mut subscription = connection.subscribe(channel.clone());
    assert_eq!(next(&mut subscription).await, Event::Connected);
    let tell = Script::new("return redis.call(ARGV[1], KEYS[1], ARGV[2])");
    let command = connection.publish_command();
    let heard: u64 = connection
        .eval(&tell, &[&channel], &(command, "from a script"))
        .await
        .unwrap();
    let also = connection.publish(&channel, b"\0\xff").await.unwrap();
    // The server may not know yet that an attempt to subscribe before this one was given up.
    assert!(heard >= 1 && also >= 1, "{heard} and {also}");
    assert_eq!(next(&mut subscription).await, Event::Message("from a script".into()));
    assert_eq!(next(&mut subscription).await, Event::Message(b"\0\xff"[..].into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_servers_work() {
    let server = Redis::start();
    let connection = connect(&server.url()).await;
    assert!(connection.generation() > 0);
    assert_eq!(connection.publish_command(), "SPUBLISH");
    works(&connection).await;
    for key in server.cli(&["KEYS", "*"]).lines() {
        assert_ne!(server.cli(&["TTL", key]), "-1", "{key} never ends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_are_asked_for_and_told() {
    let server = Redis::start();
    server.cli(&["ACL", "SETUSER", "coordinator", "on", ">pa/ss", "~*", "&*", "+@all"]);
    server.cli(&["CONFIG", "SET", "requirepass", "other"]);
    let place = format!("127.0.0.1:{}/0", server.port());
    works(&connect(&format!("redis://coordinator:pa%2Fss@{place}")).await).await;
    works(&connect(&format!("redis://:other@{place}")).await).await;
    let config = config(&format!("redis://coordinator:wrong-one@{place}"));
    let refused = Connection::open(&config, config.url.as_ref().unwrap(), &prometheus::Registry::new())
        .await
        .err()
        .unwrap();
    let refused = format!("{refused:#}");
    assert!(
        refused.starts_with("REDIS_URL: cannot use redis://127.0.0.1"),
        "{refused}"
    );
    assert!(!refused.contains("wrong-one"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_works_with_the_right_authority_alone() {
    let server = Redis::tls();
    works(&connect(&server.url()).await).await;
    let without = server.url().split_once('?').unwrap().0.to_owned();
    let config = config(&without);
    let refused = Connection::open(&config, config.url.as_ref().unwrap(), &prometheus::Registry::new())
        .await
        .err()
        .unwrap();
    assert!(format!("{refused:#}").contains("certificate"), "{refused:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_work() {
    let server = Redis::cluster();
    let connection = connect(&server.url()).await;
    assert_eq!(connection.keys().prefix(), "{p2p}:");
    works(&connection).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_lead_to_the_new_master() {
    let mut servers = Sentinels::start();
    let connection = connect(&servers.url()).await;
    works(&connection).await;
    let before = connection.generation();
    servers.master.kill();
    until(&connection, |state| !state.up).await;
    until(&connection, |state| state.up && state.generation > before).await;
    works(&connection).await;
    assert!(servers.replica.cli(&["INFO", "replication"]).contains("role:master"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_told_once_with_the_mend() {
    let config = config("redis://127.0.0.1:1/0");
    let started = Instant::now();
    let refused = Connection::open(&config, config.url.as_ref().unwrap(), &prometheus::Registry::new())
        .await
        .err()
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    let refused = format!("{refused:#}");
    assert!(
        refused.contains("refused") && refused.contains("start Redis there"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_is_found_again_empty() {
    let mut server = Redis::start();
    let connection = connect(&server.url()).await;
    let mut subscription = connection.subscribe("c".to_owned());
    assert_eq!(next(&mut subscription).await, Event::Connected);
    server.kill();
    until(&connection, |state| !state.up).await;
    let asked = Instant::now();
    assert!(connection.query::<String>(&cmd("PING")).await.is_err());
    assert!(asked.elapsed() < Duration::from_millis(100), "a call fails at once");
    assert_eq!(next(&mut subscription).await, Event::Lost);
    server.start_again();
    let state = until(&connection, |state| state.up).await;
    assert!(state.generation > 1);
    assert_eq!(next(&mut subscription).await, Event::Connected);
    assert_eq!(connection.publish("c", b"x").await.unwrap(), 1);
    works(&connection).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_left_and_found_again() {
    let server = Redis::start();
    let connection = connect(&server.url()).await;
    let before = connection.generation();
    server.pause();
    let asked = Instant::now();
    assert!(connection.query::<String>(&cmd("PING")).await.is_err());
    assert!(asked.elapsed() < Duration::from_secs(3));
    until(&connection, |state| !state.up).await;
    server.resume();
    until(&connection, |state| state.up && state.generation > before).await;
    works(&connection).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_data_and_lost_scripts_are_noticed() {
    let server = Redis::start();
    let connection = connect(&server.url()).await;
    works(&connection).await;
    server.cli(&["SCRIPT", "FLUSH"]);
    works(&connection).await;
    let before = connection.generation();
    server.cli(&["FLUSHALL"]);
    let state = until(&connection, |state| state.generation > before).await;
    assert!(state.up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_too_slow_is_told_of_a_gap() {
    let server = Redis::start();
    let connection = connect(&server.url()).await;
    let mut subscription = connection.subscribe("c".to_owned());
    assert_eq!(next(&mut subscription).await, Event::Connected);
    let flood = Script::new("for i = 1, 20000 do redis.call('SPUBLISH', 'c', i) end return 1");
    // Nobody reads meanwhile, so at some moment no more fits.
    let given_up = async {
        while server.cli(&["PUBSUB", "SHARDNUMSUB", "c"]) != "c\n0" {
            let _ = connection.eval::<i64>(&flood, &["c"], &("",)).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let given_up = tokio::time::timeout(PATIENCE, given_up).await;
    given_up.expect("the connection is given up");
    while next(&mut subscription).await != Event::Lost {}
    while next(&mut subscription).await != Event::Connected {}
    assert_eq!(connection.publish("c", b"x").await.unwrap(), 1);
    while next(&mut subscription).await != Event::Message("x".into()) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_order_run_in_order() {
    let server = Redis::start();
    let connection = connect(&server.url()).await;
    let ordered = connection.ordered();
    let mut state = ordered.watch();
    tokio::time::timeout(PATIENCE, state.wait_for(|state| state.up))
        .await
        .unwrap()
        .unwrap();
    let push = Script::new("return redis.call('RPUSH', KEYS[1], ARGV[1])");
    let mut calls: Vec<_> = (0..500)
        .map(|number| {
            let (ordered, push) = (&ordered, &push);
            Box::pin(async move { ordered.eval::<i64>(push, &["list"], &(number,)).await })
        })
        .collect();
    let all = futures_util::future::join_all(calls.iter_mut());
    let lengths: Vec<i64> = all.await.into_iter().map(Result::unwrap).collect();
    assert_eq!(lengths, (1..=500).collect::<Vec<_>>());
    let list: Vec<i64> = ordered.query(cmd("LRANGE").arg("list").arg(0).arg(-1)).await.unwrap();
    assert_eq!(list, (0..500).collect::<Vec<_>>());
}

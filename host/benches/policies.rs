//! What the policies cost: each slot's whole call through its component and through the native default, in one run.
//! Prints the median, the 99th percentile and the ratio. Run it with `cargo bench -p p2p-coordinator --bench policies`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measuring program ends at the first surprise"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_coordinator::config::PluginsConfig;
use p2p_coordinator::plugins::PluginRuntime;
use p2p_coordinator::plugins::worlds::{host_selection, npc_transform, rate_limit};
use p2p_coordinator::ports::policies::{Caller, Policies, Surface};
use p2p_coordinator::telemetry::metrics::Metrics;

/// Calls that are timed together where one is too short for the clock.
const BATCH: u32 = 100;

fn main() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let started = Instant::now();
    let component = start(data.path(), false);
    let cold = started.elapsed();
    let started = Instant::now();
    let warm = start(data.path(), false);
    println!(
        "start: compiling {:.1} ms, compiled code found {:.1} ms",
        millis(cold),
        millis(started.elapsed())
    );
    drop(warm);
    let native = start(data.path(), true);
    let both = [component.policies(), native.policies()];
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");

    println!(
        "{:<26} {:>12} {:>12} {:>12} {:>12} {:>8}",
        "", "wasm p50", "wasm p99", "native p50", "native p99", "ratio"
    );
    let request = rate_limit::sample(Surface::Websocket, Caller::Player);
    compare("rate-limit decide", &both, 5000, BATCH, |policies| {
        black_box(policies.rate_limit.decide(black_box(&request)));
    });
    let host = host_selection::sample_candidate(17).host;
    compare("host-selection score", &both, 5000, BATCH, |policies| {
        black_box(policies.host_selection.score(black_box(&host)));
    });
    for count in [10, 100, 500] {
        let candidates: Vec<_> = (0..count).map(host_selection::sample_candidate).collect();
        compare_async(
            &format!("host-selection rank {count}"),
            &both,
            2000,
            &runtime,
            |policies| {
                let (request, candidates) = (host_selection::sample_request(), candidates.clone());
                async move {
                    let started = Instant::now();
                    black_box(policies.host_selection.rank(request, candidates).await);
                    started.elapsed()
                }
            },
        );
    }
    let frame = npc_transform::sample_frame(1000);
    compare_async("npc-transform 1000", &both, 500, &runtime, |policies| {
        let frame = frame.clone();
        async move {
            let started = Instant::now();
            black_box(policies.npc_transform.transform(frame).await);
            started.elapsed()
        }
    });
    threads("rate-limit decide, 2 threads", &both[0]);
    for slot in component.report().slots {
        assert_eq!(slot.fallbacks, 0, "the component answered every call: {slot:?}");
    }
}

fn start(data: &Path, native_only: bool) -> Arc<PluginRuntime> {
    let config = PluginsConfig {
        native_only,
        ..PluginsConfig::default()
    };
    let metrics = Arc::new(Metrics::new("bench").expect("metrics"));
    PluginRuntime::start(&config, data, metrics).expect("the policies start")
}

fn compare(name: &str, both: &[Policies; 2], rounds: u32, batch: u32, call: impl Fn(&Policies)) {
    let times = both.each_ref().map(|policies| {
        sorted((0..rounds).map(|_| {
            let started = Instant::now();
            (0..batch).for_each(|_| call(policies));
            started.elapsed() / batch
        }))
    });
    print(name, &times);
}

fn compare_async<F: Future<Output = Duration> + Send + 'static>(
    name: &str,
    both: &[Policies; 2],
    rounds: u32,
    runtime: &tokio::runtime::Runtime,
    call: impl Fn(Policies) -> F,
) {
    let times = both.each_ref().map(|policies| {
        sorted((0..rounds).map(|_| {
            // On a worker, as in the service.
            runtime
                .block_on(runtime.spawn(call(policies.clone())))
                .expect("the call ends")
        }))
    });
    print(name, &times);
}

/// Calls a second on one thread and on two.
fn threads(name: &str, policies: &Policies) {
    const CALLS: u32 = 1_000_000;
    let request = rate_limit::sample(Surface::Websocket, Caller::Player);
    let rate = |threads: u32| {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..CALLS).for_each(|_| drop(black_box(policies.rate_limit.decide(&request)))));
            }
        });
        f64::from(CALLS * threads) / started.elapsed().as_secs_f64() / 1e6
    };
    println!(
        "{name:<26} {:.2} million calls/s on one, {:.2} on two",
        rate(1),
        rate(2)
    );
}

/// The second half of the rounds, sorted: the first half warms up.
fn sorted(times: impl ExactSizeIterator<Item = Duration>) -> Vec<Duration> {
    let skip = times.len() / 2;
    let mut times: Vec<_> = times.skip(skip).collect();
    times.sort_unstable();
    times
}

fn print(name: &str, [component, native]: &[Vec<Duration>; 2]) {
    let at = |times: &[Duration], share: usize| micros(times[(times.len() * share / 100).min(times.len() - 1)]);
    println!(
        "{name:<26} {:>9.2} µs {:>9.2} µs {:>9.2} µs {:>9.2} µs {:>7.1}x",
        at(component, 50),
        at(component, 99),
        at(native, 50),
        at(native, 99),
        at(component, 50) / at(native, 50),
    );
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

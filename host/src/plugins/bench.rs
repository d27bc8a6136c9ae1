//! What a component costs: its calls on the way that the service takes, the start of an instance, memory and compilation.
//! Made-up questions, the same for every component of a slot.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::failure::{Refusal, Step};
use super::instance::{Instance, Release, Source};
use super::limits;
use super::loader::{Loader, Passed};
use super::slot::Slot;
use super::slot_name::SlotName;
use super::tryout;
use super::worlds::{World, host_selection, npc_transform, rate_limit};
use crate::ports::policies::{Caller, HostSelection as _, NpcTransforming as _, RateLimiting as _, Surface};

/// The longest that one row is measured.
const ROW: Duration = Duration::from_secs(2);
/// Rounds of one row.
const ROUNDS: usize = 2000;
/// Calls of one round where one is too short for the clock.
const BATCH: u32 = 100;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// Name and version, as the policy says them.
    pub policy: String,
    pub slot: SlotName,
    /// Bytes of the component.
    pub size_bytes: usize,
    /// From bytes to code. Near nothing when the code was found.
    pub compile_ms: f64,
    pub compiled_now: bool,
    pub rows: Vec<BenchRow>,
    /// Linear memory of the instance that answered.
    pub memory_bytes: usize,
    /// Most memory that this process had at once, none where the system does not say.
    pub process_peak_bytes: Option<u64>,
    /// Calls that the policy did not answer; their times are of the native default.
    pub failed_calls: u64,
    /// The last failure.
    pub failure: Option<String>,
    /// Whether this is an unoptimised build, whose times say little.
    pub unoptimised: bool,
}

/// The times of one kind of call, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct BenchRow {
    pub what: String,
    pub rounds: usize,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Measures a component. `loader` ought to ask nothing itself.
///
/// # Errors
///
/// The step of loading that failed and why.
pub fn run(loader: &Loader, path: &Path, slot: Option<SlotName>) -> Result<BenchReport, Refusal> {
    let (bytes, slot) = tryout::read(path, slot)?;
    match slot {
        SlotName::HostSelection => measure::<host_selection::Bound>(loader, path, &bytes, host_selection_calls),
        SlotName::RateLimit => measure::<rate_limit::Bound>(loader, path, &bytes, rate_limit_calls),
        SlotName::NpcTransform => measure::<npc_transform::Bound>(loader, path, &bytes, npc_transform_calls),
    }
}

fn measure<W: World>(
    loader: &Loader,
    path: &Path,
    bytes: &[u8],
    calls: fn(&Arc<Slot<W>>) -> std::io::Result<Vec<BenchRow>>,
) -> Result<BenchReport, Refusal> {
    let failed = |error: &dyn std::fmt::Display| Refusal::new(Step::Trial, error.to_string());
    let mut compiling = (Duration::ZERO, false);
    let mut watch = |passed: Passed| {
        if passed.step == Step::Compile {
            compiling = (passed.took, passed.detail == "compiled");
        }
    };
    let (release, instance) = loader.load::<W>(Source::File(path.to_owned()), bytes, &mut watch)?;
    let options = prometheus::HistogramOpts::new("bench", "Not exported.");
    let histogram = prometheus::Histogram::with_opts(options).map_err(|error| failed(&error))?;
    let slot = Arc::new(Slot::<W>::new(1, histogram));
    slot.install(Arc::clone(&release), Some(instance));
    let mut rows = calls(&slot).map_err(|error| failed(&error))?;
    rows.extend(starts(&release));
    let mut instance = release.instance().map_err(|failure| failed(&failure))?;
    for question in W::samples() {
        instance.ask(&question).map_err(|failure| failed(&failure))?;
    }
    let counts = slot.counts();
    let said = &release.about.description;
    Ok(BenchReport {
        policy: format!("{} {}", said.name, said.version),
        slot: W::SLOT,
        size_bytes: bytes.len(),
        compile_ms: compiling.0.as_secs_f64() * 1000.0,
        compiled_now: compiling.1,
        rows,
        memory_bytes: instance.memory(),
        process_peak_bytes: peak(),
        failed_calls: counts.failures.iter().sum(),
        failure: slot.last_failure().map(|last| last.failure.to_string()),
        unoptimised: cfg!(debug_assertions),
    })
}

/// A new instance with its settings, alone and with its first question.
fn starts<W: World>(release: &Release<W>) -> Vec<BenchRow> {
    let question = W::samples().into_iter().next();
    let start = row("fresh instance", 1, || release.instance().is_ok());
    let first = row("fresh instance and one call", 1, || {
        let asked = release
            .instance()
            .map(|mut instance: Instance<W>| question.as_ref().is_some_and(|question| instance.ask(question).is_ok()));
        asked.unwrap_or(false)
    });
    vec![start, first]
}

fn rate_limit_calls(slot: &Arc<Slot<rate_limit::Bound>>) -> std::io::Result<Vec<BenchRow>> {
    let policy = rate_limit::RateLimit::new(Arc::clone(slot), &[]);
    let asked = [
        ("decide, API", rate_limit::sample(Surface::Api, Caller::Player)),
        (
            "decide, WebSocket",
            rate_limit::sample(Surface::Websocket, Caller::Player),
        ),
    ];
    let rows = asked.map(|(what, request)| row(what, BATCH, || policy.decide(&request)));
    Ok(rows.to_vec())
}

fn host_selection_calls(slot: &Arc<Slot<host_selection::Bound>>) -> std::io::Result<Vec<BenchRow>> {
    let policy = host_selection::HostChoice::new(Arc::clone(slot));
    let host = host_selection::sample_candidate(17).host;
    let mut rows = vec![row("score", BATCH, || policy.score(&host))];
    let runtime = runtime()?;
    for count in [10, 100, 500] {
        let candidates: Vec<_> = (0..count).map(host_selection::sample_candidate).collect();
        let what = format!("rank {count} hosts");
        rows.push(row_of(&runtime, &what, || {
            let (request, candidates) = (host_selection::sample_request(), candidates.clone());
            timed(policy.rank(request, candidates))
        }));
    }
    Ok(rows)
}

fn npc_transform_calls(slot: &Arc<Slot<npc_transform::Bound>>) -> std::io::Result<Vec<BenchRow>> {
    let policy = npc_transform::NpcView::new(Arc::clone(slot));
    let runtime = runtime()?;
    let rows = [10, 100, 1000].map(|count| {
        let frame = npc_transform::sample_frame(count);
        row_of(&runtime, &format!("transform {count} NPCs"), || {
            timed(policy.transform(frame.clone()))
        })
    });
    Ok(rows.to_vec())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

async fn timed<R>(call: impl Future<Output = R>) -> Duration {
    let started = Instant::now();
    std::hint::black_box(call.await);
    started.elapsed()
}

fn row<R>(what: &str, batch: u32, mut call: impl FnMut() -> R) -> BenchRow {
    let round = |call: &mut dyn FnMut() -> R| {
        let started = Instant::now();
        for _ in 0..batch {
            std::hint::black_box(call());
        }
        started.elapsed() / batch
    };
    rounds(what, || round(&mut call))
}

fn row_of<F: Future<Output = Duration>>(
    runtime: &tokio::runtime::Runtime,
    what: &str,
    call: impl Fn() -> F,
) -> BenchRow {
    rounds(what, || runtime.block_on(call()))
}

/// Goes on until there are enough rounds or the time is up. The first tenth warms up.
fn rounds(what: &str, mut round: impl FnMut() -> Duration) -> BenchRow {
    let started = Instant::now();
    let mut times = Vec::with_capacity(ROUNDS);
    let mut warm = false;
    while times.len() < ROUNDS && (started.elapsed() < ROW || times.is_empty()) {
        if !warm && (times.len() >= ROUNDS / 10 || started.elapsed() > ROW / 10) {
            warm = true;
            times.clear();
        }
        times.push(round());
    }
    times.sort_unstable();
    let at = |share: usize| {
        let index = (times.len() * share / 100).min(times.len().saturating_sub(1));
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    };
    BenchRow {
        what: what.to_owned(),
        rounds: times.len(),
        p50_us: at(50),
        p99_us: at(99),
    }
}

fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

impl std::fmt::Display for BenchReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        #[expect(clippy::cast_precision_loss, reason = "shown to people")]
        let (size, memory) = (self.size_bytes as f64, self.memory_bytes as f64);
        writeln!(f, "{} for the slot {}", self.policy, self.slot.as_str())?;
        writeln!(f, "  component        {:>10.2} MiB", mib(size))?;
        let compiled = if self.compiled_now {
            ""
        } else {
            " (compiled code found)"
        };
        writeln!(f, "  compile          {:>10.1} ms{compiled}", self.compile_ms)?;
        writeln!(
            f,
            "  linear memory    {:>10.2} MiB an instance, of {} MiB",
            mib(memory),
            limits::MEMORY_BYTES >> 20
        )?;
        if let Some(peak) = self.process_peak_bytes {
            #[expect(clippy::cast_precision_loss, reason = "shown to people")]
            let peak = peak as f64;
            writeln!(f, "  this process     {:>10.0} MiB at most", mib(peak))?;
        }
        writeln!(f, "  {:<30} {:>12} {:>12}", "", "p50", "p99")?;
        for row in &self.rows {
            writeln!(f, "  {:<30} {:>9.2} µs {:>9.2} µs", row.what, row.p50_us, row.p99_us)?;
        }
        if let Some(failure) = &self.failure {
            writeln!(
                f,
                "  {} calls were not answered by the policy, the last one: {failure}",
                self.failed_calls
            )?;
        }
        if self.unoptimised {
            write!(
                f,
                "  an unoptimised build of this program: 10 to 40 times slower than in service"
            )
        } else {
            write!(f, "  the same engine, limits and call path as in service")
        }
    }
}

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

/// How many hosts are ranked, and NPCs transformed.
const RANKED: [u32; 3] = [10, 100, 500];
const TRANSFORMED: [u32; 3] = [10, 100, 1000];
/// Where a limit is asked for.
const LIMITED: [(&str, Surface); 2] = [("decide, API", Surface::Api), ("decide, WebSocket", Surface::Websocket)];
/// How an instance starts.
const STARTED: [&str; 2] = ["fresh instance", "fresh instance and one call"];

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

/// What is being measured, for whoever waits.
#[derive(Clone, Copy, Debug)]
pub struct BenchStep<'a> {
    /// The kind of call.
    pub what: &'a str,
    /// Rows that are there.
    pub done: u64,
    /// Rows that there will be.
    pub of: u64,
}

/// Told what is being measured.
pub type Watch<'a> = &'a mut dyn FnMut(BenchStep<'_>);

/// Measures the rows of one slot.
struct Rows<'a> {
    rows: Vec<BenchRow>,
    of: u64,
    watch: Watch<'a>,
}

/// Measures a component. `loader` ought to ask nothing itself. `watch` is told of each row before it is measured.
///
/// # Errors
///
/// The step of loading that failed and why.
pub fn run(loader: &Loader, path: &Path, slot: Option<SlotName>, watch: Watch<'_>) -> Result<BenchReport, Refusal> {
    let (bytes, slot) = tryout::read(path, slot)?;
    match slot {
        SlotName::HostSelection => {
            let rows = Rows::new(RANKED.len() + 1, watch);
            measure::<host_selection::Bound>(loader, path, &bytes, rows, host_selection_calls)
        }
        SlotName::RateLimit => {
            let rows = Rows::new(LIMITED.len(), watch);
            measure::<rate_limit::Bound>(loader, path, &bytes, rows, rate_limit_calls)
        }
        SlotName::NpcTransform => {
            let rows = Rows::new(TRANSFORMED.len(), watch);
            measure::<npc_transform::Bound>(loader, path, &bytes, rows, npc_transform_calls)
        }
    }
}

fn measure<W: World>(
    loader: &Loader,
    path: &Path,
    bytes: &[u8],
    mut rows: Rows<'_>,
    calls: fn(&Arc<Slot<W>>, &mut Rows<'_>) -> std::io::Result<()>,
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
    calls(&slot, &mut rows).map_err(|error| failed(&error))?;
    starts(&release, &mut rows);
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
        rows: rows.rows,
        memory_bytes: instance.memory(),
        process_peak_bytes: peak(),
        failed_calls: counts.failures.iter().sum(),
        failure: slot.last_failure().map(|last| last.failure.to_string()),
        unoptimised: cfg!(debug_assertions),
    })
}

/// A new instance with its settings, alone and with its first question.
fn starts<W: World>(release: &Release<W>, rows: &mut Rows<'_>) {
    let question = W::samples().into_iter().next();
    let [alone, asked] = STARTED;
    rows.row(alone, 1, || release.instance().is_ok());
    rows.row(asked, 1, || {
        let asked = release
            .instance()
            .map(|mut instance: Instance<W>| question.as_ref().is_some_and(|question| instance.ask(question).is_ok()));
        asked.unwrap_or(false)
    });
}

fn rate_limit_calls(slot: &Arc<Slot<rate_limit::Bound>>, rows: &mut Rows<'_>) -> std::io::Result<()> {
    let policy = rate_limit::RateLimit::new(Arc::clone(slot), &[]);
    for (what, surface) in LIMITED {
        let request = rate_limit::sample(surface, Caller::Player);
        rows.row(what, BATCH, || policy.decide(&request));
    }
    Ok(())
}

fn host_selection_calls(slot: &Arc<Slot<host_selection::Bound>>, rows: &mut Rows<'_>) -> std::io::Result<()> {
    let policy = host_selection::HostChoice::new(Arc::clone(slot));
    let host = host_selection::sample_candidate(17).host;
    rows.row("score", BATCH, || policy.score(&host));
    let runtime = runtime()?;
    for count in RANKED {
        let candidates: Vec<_> = (0..count).map(host_selection::sample_candidate).collect();
        let what = format!("rank {count} hosts");
        rows.row_of(&runtime, &what, || {
            let (request, candidates) = (host_selection::sample_request(), candidates.clone());
            timed(policy.rank(request, candidates))
        });
    }
    Ok(())
}

fn npc_transform_calls(slot: &Arc<Slot<npc_transform::Bound>>, rows: &mut Rows<'_>) -> std::io::Result<()> {
    let policy = npc_transform::NpcView::new(Arc::clone(slot));
    let runtime = runtime()?;
    for count in TRANSFORMED {
        let frame = npc_transform::sample_frame(count);
        rows.row_of(&runtime, &format!("transform {count} NPCs"), || {
            timed(policy.transform(frame.clone()))
        });
    }
    Ok(())
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

impl<'a> Rows<'a> {
    fn new(calls: usize, watch: Watch<'a>) -> Self {
        Self {
            rows: Vec::new(),
            of: (calls + STARTED.len()) as u64,
            watch,
        }
    }

    fn row<R>(&mut self, what: &str, batch: u32, mut call: impl FnMut() -> R) {
        self.add(what, || {
            let started = Instant::now();
            for _ in 0..batch {
                std::hint::black_box(call());
            }
            started.elapsed() / batch
        });
    }

    fn row_of<F: Future<Output = Duration>>(
        &mut self,
        runtime: &tokio::runtime::Runtime,
        what: &str,
        call: impl Fn() -> F,
    ) {
        self.add(what, || runtime.block_on(call()));
    }

    fn add(&mut self, what: &str, round: impl FnMut() -> Duration) {
        let done = self.rows.len() as u64;
        (self.watch)(BenchStep {
            what,
            done,
            of: self.of,
        });
        self.rows.push(rounds(what, round));
        debug_assert!(done < self.of, "more rows than were told");
    }
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

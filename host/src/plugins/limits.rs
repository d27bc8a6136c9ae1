//! Every deadline, cap and count of the policy runtime, in one place. No logic here.

use std::time::Duration;

/// How often the engine's epoch moves. Deadlines are counted in these. An unoptimised build takes 20 to 35 times as long to
/// pass lists to and fro, so it gives ten times as long.
pub const TICK: Duration = Duration::from_millis(if cfg!(debug_assertions) { 10 } else { 1 });

/// `describe`, `configure` and instantiation, in ticks.
pub const LIFECYCLE_TICKS: u64 = 50;
/// `score` and `decide`, in ticks.
pub const DECISION_TICKS: u64 = 5;
/// `rank`, in ticks.
pub const RANK_TICKS: u64 = 20;
/// `transform`, in ticks.
pub const TRANSFORM_TICKS: u64 = 50;
/// How often a policy that misses a deadline while it is loaded is asked again.
pub const LOAD_ATTEMPTS: u32 = 4;

/// Linear memory of one instance, all its memories together, in bytes.
pub const MEMORY_BYTES: usize = 64 << 20;
/// Elements of one table of an instance.
pub const TABLE_ELEMENTS: usize = 20_000;
/// Stack of a guest, in bytes.
pub const STACK_BYTES: usize = 512 << 10;
/// Linear memories that all instances of the process may hold together.
pub const TOTAL_MEMORIES: u32 = 768;
/// Core instances of one component: Rust makes 3 to 5, QuickJS 14, Python 38, one for each extension module.
pub const CORE_INSTANCES: u32 = 64;
/// Core instances that all components of the process may hold together. Only counted: they take no address space.
pub const TOTAL_CORE_INSTANCES: u32 = TOTAL_INSTANCES * CORE_INSTANCES;
/// Component instances of the process.
pub const TOTAL_INSTANCES: u32 = 512;

/// Bytes a guest may hand to the host in one call: an answer, or a log line. Small slots.
pub const SMALL_ANSWER_BYTES: usize = 64 << 10;
/// The same for `npc-transform`, whose answers grow with the zone.
pub const LARGE_ANSWER_BYTES: usize = 8 << 20;

/// Largest component that is read, in bytes.
pub const COMPONENT_BYTES: u64 = 64 << 20;
/// Largest compiled component that is read back, in bytes.
pub const COMPILED_BYTES: u64 = 512 << 20;
/// Compiled components that are kept for each slot: the last 20 releases, the bundled one and some to spare.
pub const COMPILED_FILES: usize = 24;

/// Bytes of the golden vectors in a component.
pub const VECTORS_BYTES: usize = 4 << 20;
/// Golden vectors of a component.
pub const VECTORS: usize = 1000;

/// The longest that a component may take to compile. On two processors Rust takes 20 ms, QuickJS 1 s, Python 6 s; an
/// unoptimised build of the service takes three times as long, and every time more on a busy machine.
pub const COMPILE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 300 } else { 120 });
/// From when on compiling takes its time from everybody.
pub const COMPILE_IDLE: Duration = Duration::from_secs(10);
/// Compilations that may be under way at once, each of which takes up to 500 MB.
pub const COMPILATIONS: usize = 4;

/// Log lines of one call.
pub const LOG_LINES: u32 = 16;
/// Bytes of one log line.
pub const LOG_LINE_BYTES: usize = 1024;
/// Bytes of a name or version in `describe`.
pub const NAME_BYTES: usize = 128;
/// Bytes of a summary in `describe`, and of any reason that is shown.
pub const SUMMARY_BYTES: usize = 1024;

/// Candidates that a policy gets to rank. The best by score are taken.
pub const CANDIDATES: usize = 1000;
/// Picks that the coordinator looks at.
pub const PICKS: u32 = 16;
/// Bytes of a pick's reason and of a denial.
pub const REASON_BYTES: usize = 256;
/// Draws of one rate-limit decision.
pub const DRAWS: usize = 4;
/// Tokens of a bucket.
pub const BUCKET_CAPACITY: u32 = 1_000_000;
/// Seconds of a bucket's window.
pub const BUCKET_WINDOW_SECONDS: u32 = 86_400;
/// NPCs of one frame that a policy sees. Larger frames go to the native default.
pub const NPCS: usize = 20_000;

/// Calls after which an instance is replaced by a fresh one.
pub const CALLS_PER_INSTANCE: u32 = 100_000;
/// One call in so many is timed on the slots that are called for every request.
pub const SAMPLE: u64 = 64;

/// Edges of the histograms of call times, in seconds.
pub const CALL_SECONDS: [f64; 14] = [
    1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 1e-4, 2.5e-4, 1e-3, 5e-3, 2e-2, 5e-2,
];
/// How often the latency probe asks its question.
pub const PROBE_CALLS: usize = 25;
/// Share of the deadline that the median of the probe may take.
pub const PROBE_SHARE: f64 = 0.5;

/// Releases of a slot that stay loaded beside those that serve.
pub const SPARE_RELEASES: usize = 2;
/// Questions that wait for the shadow of a slot.
pub const SHADOW_QUEUE: usize = 256;
/// Calls that a shadow answered otherwise, of which it keeps the latest.
pub const DIFFERENCES: usize = 20;

/// Bytes that the kept decisions of a slot hold on to, about.
pub const DECISION_BYTES: usize = 32 << 20;
/// Bytes of kept decisions that one answer shows, about; one decision is always shown.
pub const DECISIONS_SHOWN_BYTES: usize = 4 << 20;
/// Decisions that one answer shows.
pub const DECISIONS_SHOWN: u32 = 200;
/// Bytes of the file of decisions, before it is put aside for a new one.
pub const DECISION_FILE_BYTES: u64 = 64 << 20;
/// Files of decisions that are kept, the one in use included.
pub const DECISION_FILES: usize = 5;
/// Between two looks at what is to be written.
pub const DECISION_FLUSH: Duration = Duration::from_millis(10);

/// Failures in a row that open the breaker.
pub const BREAKER_FAILURES: u32 = 5;
/// First pause of an open breaker.
pub const BREAKER_FIRST: Duration = Duration::from_secs(1);
/// Longest pause of an open breaker.
pub const BREAKER_LONGEST: Duration = Duration::from_secs(60);

/// How long `rank` and `transform` wait for their turn before the native default answers.
pub const TURN: Duration = Duration::from_millis(100);

/// How long the policy folder must be quiet before it is read.
pub const DEBOUNCE: Duration = Duration::from_millis(120);
/// The longest that a folder which never is quiet puts off a reading.
pub const DEBOUNCE_LONGEST: Duration = Duration::from_secs(1);
/// How often the policy folder is looked at without any event, for file systems that send none.
pub const RESCAN: Duration = Duration::from_secs(2);

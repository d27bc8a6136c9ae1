//! The threads that compile components, within a time. Compiling cannot be interrupted: one that takes too long is left to
//! end by itself, and only so many may do so. Knows nothing of slots, worlds or files.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use rayon::{ThreadPool, ThreadPoolBuilder};
use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use wasmtime::component::Component;
use wasmtime::{Engine, Error};

use super::{limits, turns};

/// The threads.
pub(super) struct Compilers {
    /// Get only the time that nobody else wants.
    idle: ThreadPool,
    /// Take their time from everybody, for what the others are too long about: a machine may be busy for good.
    urgent: ThreadPool,
    under_way: Arc<UnderWay>,
}

/// Compilations that are under way, those that nobody waits for any more included.
#[derive(Default)]
struct UnderWay {
    count: Mutex<usize>,
    ended: Condvar,
}

/// One compilation under way.
struct Turn(Arc<UnderWay>);

impl Turn {
    /// None when it does not come in time.
    fn take(under_way: &Arc<UnderWay>, until: Instant) -> Option<Self> {
        let mut count = under_way.count.lock();
        while *count >= limits::COMPILATIONS {
            if under_way.ended.wait_until(&mut count, until).timed_out() {
                return None;
            }
        }
        *count += 1;
        Some(Self(Arc::clone(under_way)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.count.lock() -= 1;
        self.0.ended.notify_one();
    }
}

impl Compilers {
    /// Starts the threads.
    pub(super) fn start() -> anyhow::Result<Self> {
        let pool = || {
            ThreadPoolBuilder::new()
                .num_threads(turns::processors())
                .thread_name(|_| "policy-compiler".to_owned())
        };
        Ok(Self {
            idle: pool().start_handler(|_| yield_to_everybody()).build()?,
            urgent: pool().build()?,
            under_way: Arc::default(),
        })
    }

    /// Compiles a component, and waits for it. An error when it does not compile, takes too long, or does not get its turn
    /// in that time.
    pub(super) fn compile(&self, engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
        let until = Instant::now() + limits::COMPILE;
        let late = || {
            let seconds = limits::COMPILE.as_secs();
            Error::msg(format!("it takes longer than {seconds} s to compile"))
        };
        let turn = Arc::new(Turn::take(&self.under_way, until).ok_or_else(late)?);
        let bytes: Arc<[u8]> = bytes.into();
        let (send, receive) = mpsc::sync_channel(2);
        let start_on = |pool: &ThreadPool| {
            let (engine, bytes, turn, send) = (engine.clone(), Arc::clone(&bytes), Arc::clone(&turn), send.clone());
            pool.spawn(move || {
                let compiled = Component::new(&engine, &bytes);
                drop(turn);
                // Whoever waited may have gone.
                let _ = send.send(compiled);
            });
        };
        start_on(&self.idle);
        if let Ok(compiled) = receive.recv_timeout(limits::COMPILE_IDLE) {
            return compiled;
        }
        tracing::info!("the machine leaves no time to compile a policy; it is taken");
        start_on(&self.urgent);
        match receive.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(compiled) => compiled,
            Err(_) => Err(late()),
        }
    }
}

/// Has the calling thread run only when nothing else wants to, and stop at once when something does. A nice value alone lets
/// it finish its slice of some milliseconds first.
fn yield_to_everybody() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
        tracing::debug!(?error, "policies are compiled at normal priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_turns_are_given_than_there_are() {
        let under_way = Arc::default();
        let soon = || Instant::now() + std::time::Duration::from_millis(20);
        let turns: Vec<Turn> = (0..limits::COMPILATIONS)
            .filter_map(|_| Turn::take(&under_way, soon()))
            .collect();
        assert_eq!(turns.len(), limits::COMPILATIONS);
        assert!(Turn::take(&under_way, soon()).is_none());
        drop(turns);
        assert!(Turn::take(&under_way, soon()).is_some());
    }
}

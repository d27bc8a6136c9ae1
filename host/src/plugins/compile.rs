//! Compiles a component within a time. Compiling cannot be interrupted: one that takes too long is left to end by itself, on
//! a thread of its own, and only so many may do so.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use wasmtime::component::Component;
use wasmtime::{Engine, Error};

use super::limits;

/// Compilations that are under way in this process, those that nobody waits for any more included.
static UNDER_WAY: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// One compilation under way.
struct Turn;

impl Turn {
    /// None when it does not come in time.
    fn take(until: Instant) -> Option<Self> {
        let mut under_way = UNDER_WAY.lock();
        while *under_way >= limits::COMPILATIONS {
            if ENDED.wait_until(&mut under_way, until).timed_out() {
                return None;
            }
        }
        *under_way += 1;
        Some(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *UNDER_WAY.lock() -= 1;
        ENDED.notify_one();
    }
}

/// Compiles a component.
///
/// # Errors
///
/// When it does not compile, takes too long, or does not get its turn in that time.
pub fn compile(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
    let until = Instant::now() + limits::COMPILE;
    let late = || {
        let seconds = limits::COMPILE.as_secs();
        Error::msg(format!("it takes longer than {seconds} s to compile"))
    };
    let turn = Turn::take(until).ok_or_else(late)?;
    let (engine, bytes) = (engine.clone(), bytes.to_vec());
    let (send, receive) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("policy-compiler".to_owned())
        .spawn(move || {
            let compiled = Component::new(&engine, &bytes);
            drop(turn);
            // Whoever waited may have gone.
            let _ = send.send(compiled);
        })
        .map_err(Error::from)?;
    match receive.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(compiled) => compiled,
        Err(RecvTimeoutError::Timeout) => Err(late()),
        Err(RecvTimeoutError::Disconnected) => Err(Error::msg("the compiler ended without a word")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_turns_are_given_than_there_are() {
        let soon = || Instant::now() + std::time::Duration::from_millis(20);
        let long = Instant::now() + limits::COMPILE;
        let turns: Vec<Turn> = (0..limits::COMPILATIONS).filter_map(|_| Turn::take(long)).collect();
        assert_eq!(turns.len(), limits::COMPILATIONS);
        assert!(Turn::take(soon()).is_none());
        drop(turns);
        assert!(Turn::take(long).is_some());
    }
}

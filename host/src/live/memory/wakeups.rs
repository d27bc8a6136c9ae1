//! Wake-ups within one process.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::ports::live::{Result, Wakeups};

/// One counter for each topic; topics are few and fixed.
#[derive(Default)]
pub(super) struct Counters(Mutex<HashMap<String, watch::Sender<u64>>>);

#[async_trait]
impl Wakeups for Counters {
    async fn wake(&self, topic: &str) -> Result<()> {
        if let Some(counter) = self.0.lock().get(topic) {
            counter.send_modify(|count| *count = count.wrapping_add(1));
        }
        Ok(())
    }

    fn listen(&self, topic: &str) -> watch::Receiver<u64> {
        let mut counters = self.0.lock();
        let counter = counters
            .entry(topic.to_owned())
            .or_insert_with(|| watch::Sender::new(0));
        counter.subscribe()
    }
}

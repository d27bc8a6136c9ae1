//! Wake-ups over a channel. A gap counts as one: something may have been said meanwhile.

use async_trait::async_trait;
use tokio::sync::watch;

use super::connection::Connection;
use super::subscription::Event;
use crate::ports::live::{Result, Wakeups};

pub(super) struct Channels(pub Connection);

#[async_trait]
impl Wakeups for Channels {
    async fn wake(&self, topic: &str) -> Result<()> {
        self.0.publish(&self.0.keys().wakeups(topic), b"").await?;
        Ok(())
    }

    fn listen(&self, topic: &str) -> watch::Receiver<u64> {
        let mut subscription = self.0.subscribe(self.0.keys().wakeups(topic));
        let (sender, receiver) = watch::channel(0_u64);
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    event = subscription.next() => event,
                    () = sender.closed() => return,
                };
                if event != Event::Lost {
                    sender.send_modify(|count| *count = count.wrapping_add(1));
                }
            }
        });
        receiver
    }
}

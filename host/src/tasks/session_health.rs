//! Ends sessions without activity (one node of the fleet), and keeps sessions with a connected peer alive and lets go of peers
//! whose session is over (each node for its own peers).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Task;
use crate::app::{App, sessions};
use crate::domain::session::SessionKey;

/// Ends sessions without activity.
pub struct SessionHealth {
    pub app: Arc<App>,
}

#[async_trait]
impl Task for SessionHealth {
    fn name(&self) -> &'static str {
        "session-health"
    }

    async fn run(&self) -> anyhow::Result<()> {
        let app = &*self.app;
        touch(app, &app.peers.sessions()).await?;
        sessions::cleanup(app, timeout(app)).await?;
        Ok(())
    }
}

/// The time without activity after which a session ends.
fn timeout(app: &App) -> Duration {
    let timeout = app.config.p2p.session_timeout;
    if app.live.is_shared() {
        // Peers of other nodes are signs of life too, and those nodes tell of them once per interval.
        return timeout.max(app.config.tasks.session_health_check_interval * 3);
    }
    timeout
}

/// Looks after the sessions of this node's peers.
pub struct SessionPeers {
    pub app: Arc<App>,
}

#[async_trait]
impl Task for SessionPeers {
    fn name(&self) -> &'static str {
        "session-peers"
    }

    async fn run(&self) -> anyhow::Result<()> {
        let app = &*self.app;
        let connected = app.peers.sessions();
        touch(app, &connected).await?;
        for session_id in connected {
            let session = app
                .storage
                .sessions
                .get(&SessionKey::SessionId(session_id.clone()))
                .await?;
            if !session.is_some_and(|session| session.status.is_live()) {
                tracing::info!(session_id, "peers of a session that is over were let go");
                app.peers.close_session(&session_id);
            }
        }
        Ok(())
    }
}

/// A connected peer is a sign of life.
async fn touch(app: &App, connected: &[String]) -> anyhow::Result<()> {
    if !connected.is_empty() {
        app.storage.sessions.touch(connected, app.clock.now()).await?;
    }
    Ok(())
}

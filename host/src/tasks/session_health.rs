//! Ends sessions without activity, and lets go of peers whose session is over.

use std::sync::Arc;

use async_trait::async_trait;

use super::Task;
use crate::app::{App, sessions};
use crate::domain::session::SessionKey;

/// Looks after live sessions.
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
        let connected = app.peers.sessions();
        // A connected peer is a sign of life.
        if !connected.is_empty() {
            app.storage.sessions.touch(&connected, app.clock.now()).await?;
        }
        sessions::cleanup(app, app.config.p2p.session_timeout).await?;
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

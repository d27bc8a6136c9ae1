//! What handlers share. Made once, in `boot`.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::app::auth::Authenticator;
use crate::app::limits::Limiter;
use crate::domain::host::Host;
use crate::http::answer::Written;
use crate::http::console::Console;
use crate::plugins::PluginRuntime;
use crate::signaling::hub::Hub;

/// The state of the HTTP server, behind an `Arc`.
pub struct HttpState {
    pub app: Arc<App>,
    pub auth: Authenticator,
    pub limiter: Arc<Limiter>,
    pub hub: Arc<Hub>,
    pub plugins: Arc<PluginRuntime>,
    pub console: Console,
    /// What was last said about the best host.
    pub best: Written<Host>,
    /// Sockets and other long-lived work of requests run here.
    pub tracker: TaskTracker,
    /// Cancelled when the service drains.
    pub shutdown: CancellationToken,
}

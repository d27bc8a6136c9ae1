//! Waiting for a condition, with an end. Tests never sleep for a fixed time.

use std::time::{Duration, Instant};

/// How long any one step of a test may take. Generous: the machine may be busy with a build.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until the answer is `Some`, and returns it. Panics with `what` after [`PATIENCE`].
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ask().await {
            return value;
        }
        assert!(Instant::now() < end, "did not happen within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for a future, panics with `what` after [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("did not end within {PATIENCE:?}: {what}"))
}

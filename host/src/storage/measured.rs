//! Every operation of storage, measured: one wrapper around the ports for all databases. Decides and changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use prometheus::Registry;

use super::metrics::{StorageMetrics, register_pools};
use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, HostStatus, Registration};
use crate::domain::release::ReleaseRecord;
use crate::domain::rollout::{AuditEntry, DesiredSlot, NodeReport};
use crate::domain::session::{Session, SessionKey, SessionStatus};
use crate::domain::slot::SlotName;
use crate::domain::zone::{Zone, ZoneDefinition, ZoneStatus};
use crate::ports::releases::{Added, Decided, ReleaseRepository};
use crate::ports::storage::{
    Changed, HeartbeatRecord, HostRepository, NewSession, Opened, RefreshFamily, RefreshRepository, Registered, Result,
    Rotated, SessionFilter, SessionMetrics, SessionRepository, SessionSums, Storage, ZoneFilter, ZoneRepository,
};

/// The same storage, with its operations and pools on the registry.
///
/// # Errors
///
/// When a name is taken.
pub fn measured(storage: Storage, registry: &Registry) -> prometheus::Result<Storage> {
    let metrics = Arc::new(StorageMetrics::register(registry)?);
    register_pools(registry, &storage.health)?;
    Ok(Storage {
        hosts: Arc::new(Measured::of(storage.hosts, &metrics)),
        zones: Arc::new(Measured::of(storage.zones, &metrics)),
        sessions: Arc::new(Measured::of(storage.sessions, &metrics)),
        refresh: Arc::new(Measured::of(storage.refresh, &metrics)),
        releases: Arc::new(Measured::of(storage.releases, &metrics)),
        health: storage.health,
    })
}

struct Measured<P: ?Sized> {
    port: Arc<P>,
    metrics: Arc<StorageMetrics>,
}

impl<P: ?Sized> Measured<P> {
    fn of(port: Arc<P>, metrics: &Arc<StorageMetrics>) -> Self {
        Self {
            port,
            metrics: metrics.clone(),
        }
    }

    async fn read<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        self.metrics.read.observe(operation).await
    }

    async fn write<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        self.metrics.write.observe(operation).await
    }
}

#[async_trait]
impl HostRepository for Measured<dyn HostRepository> {
    async fn register(
        &self,
        registration: &Registration,
        quality_score: f64,
        only_owner: Option<&str>,
        now: Timestamp,
    ) -> Result<Registered> {
        self.write(self.port.register(registration, quality_score, only_owner, now))
            .await
    }

    async fn get(&self, host_id: &str) -> Result<Option<Host>> {
        self.read(self.port.get(host_id)).await
    }

    async fn all(&self) -> Result<Vec<Host>> {
        self.read(self.port.all()).await
    }

    async fn save_heartbeats(&self, records: &[HeartbeatRecord]) -> Result<()> {
        self.write(self.port.save_heartbeats(records)).await
    }

    async fn set_status(&self, host_id: &str, status: HostStatus, now: Timestamp) -> Result<Option<Host>> {
        self.write(self.port.set_status(host_id, status, now)).await
    }

    async fn expire(&self, cutoff: Timestamp, now: Timestamp) -> Result<Vec<Host>> {
        self.write(self.port.expire(cutoff, now)).await
    }

    async fn delete(&self, host_id: &str) -> Result<bool> {
        self.write(self.port.delete(host_id)).await
    }
}

#[async_trait]
impl ZoneRepository for Measured<dyn ZoneRepository> {
    async fn define(&self, definition: &ZoneDefinition, now: Timestamp) -> Result<Zone> {
        self.write(self.port.define(definition, now)).await
    }

    async fn get(&self, zone_id: &str) -> Result<Option<Zone>> {
        self.read(self.port.get(zone_id)).await
    }

    async fn list(&self, filter: ZoneFilter) -> Result<Vec<Zone>> {
        self.read(self.port.list(filter)).await
    }

    async fn set_p2p(&self, zone_id: &str, enabled: bool, now: Timestamp) -> Result<Option<Zone>> {
        self.write(self.port.set_p2p(zone_id, enabled, now)).await
    }

    async fn set_status(&self, zone_id: &str, status: ZoneStatus, now: Timestamp) -> Result<Option<Zone>> {
        self.write(self.port.set_status(zone_id, status, now)).await
    }
}

#[async_trait]
impl SessionRepository for Measured<dyn SessionRepository> {
    async fn open(&self, session: &NewSession, now: Timestamp) -> Result<Opened> {
        self.write(self.port.open(session, now)).await
    }

    async fn get(&self, key: &SessionKey) -> Result<Option<Session>> {
        self.read(self.port.get(key)).await
    }

    async fn list(&self, filter: &SessionFilter) -> Result<Vec<Session>> {
        self.read(self.port.list(filter)).await
    }

    async fn activate(&self, key: &SessionKey, now: Timestamp) -> Result<Changed> {
        self.write(self.port.activate(key, now)).await
    }

    async fn finish(
        &self,
        key: &SessionKey,
        status: SessionStatus,
        on_host: Option<&str>,
        now: Timestamp,
    ) -> Result<Changed> {
        self.write(self.port.finish(key, status, on_host, now)).await
    }

    async fn move_host(&self, key: &SessionKey, from: &str, to: &str, now: Timestamp) -> Result<Changed> {
        self.write(self.port.move_host(key, from, to, now)).await
    }

    async fn record_metrics(&self, key: &SessionKey, metrics: SessionMetrics, now: Timestamp) -> Result<Changed> {
        self.write(self.port.record_metrics(key, metrics, now)).await
    }

    async fn add_player(&self, key: &SessionKey, player_id: &str, now: Timestamp) -> Result<Changed> {
        self.write(self.port.add_player(key, player_id, now)).await
    }

    async fn remove_player(&self, key: &SessionKey, player_id: &str, now: Timestamp) -> Result<Changed> {
        self.write(self.port.remove_player(key, player_id, now)).await
    }

    async fn touch(&self, session_ids: &[String], now: Timestamp) -> Result<()> {
        self.write(self.port.touch(session_ids, now)).await
    }

    async fn expire(&self, cutoff: Timestamp, now: Timestamp) -> Result<Vec<Session>> {
        self.write(self.port.expire(cutoff, now)).await
    }

    async fn purge(&self, cutoff: Timestamp, limit: u32) -> Result<u64> {
        self.write(self.port.purge(cutoff, limit)).await
    }

    async fn live_counts(&self) -> Result<HashMap<String, u32>> {
        self.read(self.port.live_counts()).await
    }

    async fn sums(&self) -> Result<SessionSums> {
        self.read(self.port.sums()).await
    }
}

#[async_trait]
impl RefreshRepository for Measured<dyn RefreshRepository> {
    async fn start(&self, family: &RefreshFamily, now: Timestamp) -> Result<()> {
        self.write(self.port.start(family, now)).await
    }

    async fn rotate(
        &self,
        family_id: &str,
        presented: &str,
        next: &str,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Rotated> {
        self.write(self.port.rotate(family_id, presented, next, expires_at, now))
            .await
    }

    async fn purge(&self, cutoff: Timestamp) -> Result<u64> {
        self.write(self.port.purge(cutoff)).await
    }
}

#[async_trait]
impl ReleaseRepository for Measured<dyn ReleaseRepository> {
    async fn add(&self, record: &ReleaseRecord, component: &[u8]) -> Result<Added> {
        self.write(self.port.add(record, component)).await
    }

    async fn get(&self, id: &str) -> Result<Option<ReleaseRecord>> {
        self.read(self.port.get(id)).await
    }

    async fn list(&self, slot: SlotName, limit: u32) -> Result<Vec<ReleaseRecord>> {
        self.read(self.port.list(slot, limit)).await
    }

    async fn component(&self, digest: &str) -> Result<Option<Vec<u8>>> {
        self.read(self.port.component(digest)).await
    }

    async fn prune(&self, slot: SlotName, keep: u32) -> Result<u64> {
        self.write(self.port.prune(slot, keep)).await
    }

    async fn generation(&self) -> Result<u64> {
        self.read(self.port.generation()).await
    }

    async fn desired(&self) -> Result<Vec<DesiredSlot>> {
        self.read(self.port.desired()).await
    }

    async fn decide(&self, next: &DesiredSlot, entry: &AuditEntry) -> Result<Decided> {
        self.write(self.port.decide(next, entry)).await
    }

    async fn note(&self, entry: &AuditEntry) -> Result<()> {
        self.write(self.port.note(entry)).await
    }

    async fn audit(&self, slot: SlotName, limit: u32) -> Result<Vec<AuditEntry>> {
        self.read(self.port.audit(slot, limit)).await
    }

    async fn report(&self, reports: &[NodeReport]) -> Result<()> {
        self.write(self.port.report(reports)).await
    }

    async fn reports(&self, since: Timestamp) -> Result<Vec<NodeReport>> {
        self.read(self.port.reports(since)).await
    }

    async fn withdraw(&self, node: &str) -> Result<()> {
        self.write(self.port.withdraw(node)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn operations_failures_and_pools_are_on_the_registry() {
        let folder = tempfile::tempdir().unwrap();
        let storage = crate::storage::sqlite::open(&folder.path().join("db"), 2)
            .await
            .unwrap();
        let registry = Registry::new();
        let storage = measured(storage, &registry).unwrap();
        storage.hosts.all().await.unwrap();
        storage.sessions.touch(&["s".to_owned()], Timestamp(1)).await.unwrap();
        let text = || {
            prometheus::TextEncoder::new()
                .encode_to_string(&registry.gather())
                .unwrap()
        };
        let open = text();
        storage.health.close().await;
        assert!(storage.hosts.all().await.is_err());
        for (text, line) in [
            (&open, r#"p2p_storage_operation_seconds_count{operation="read"} 1"#),
            (&open, r#"p2p_storage_operation_seconds_count{operation="write"} 1"#),
            (&open, r#"p2p_storage_pool_max_connections{pool="read"} 2"#),
            (&open, r#"p2p_storage_pool_max_connections{pool="write"} 1"#),
            (
                &open,
                r#"p2p_storage_failures_total{kind="unavailable",operation="read"} 0"#,
            ),
            (
                &text(),
                r#"p2p_storage_failures_total{kind="unavailable",operation="read"} 1"#,
            ),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}

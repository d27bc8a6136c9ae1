//! The tables `releases`, `release_components`, `release_slots`, `release_nodes` and `release_audit`.
//!
//! A change to a slot holds a lock on its row, or on its name while there is no row yet.

use async_trait::async_trait;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::{Database, key};
use crate::domain::clock::Timestamp;
use crate::domain::release::ReleaseRecord;
use crate::domain::rollout::{AuditEntry, DesiredSlot, NodeReport};
use crate::domain::slot::SlotName;
use crate::ports::releases::{AUDIT_ENTRIES, Added, Decided, FORGET_NODES, ReleaseRepository};
use crate::ports::storage::Result;

pub(super) const GET: &str = "SELECT record FROM releases WHERE id = $1";

pub(super) const LOCK: &str = "SELECT record FROM releases WHERE id = $1 FOR UPDATE";

pub(super) const LIST: &str = "SELECT record FROM releases WHERE slot = $1 ORDER BY number DESC LIMIT $2";

const ADD: &str = "INSERT INTO releases (id, slot, digest, record) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";

const ADD_COMPONENT: &str = "INSERT INTO release_components (digest, bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING";

const SIGN: &str = "UPDATE releases SET record = $2 WHERE id = $1";

pub(super) const COMPONENT: &str = "SELECT bytes FROM release_components WHERE digest = $1";

const PRUNE: &str = "
    DELETE FROM releases WHERE slot = $1 AND id <> ALL ($3)
        AND number < (SELECT MIN(number) FROM
            (SELECT number FROM releases WHERE slot = $1 ORDER BY number DESC LIMIT $2) AS kept)";

const PRUNE_COMPONENTS: &str = "
    DELETE FROM release_components AS component
    WHERE NOT EXISTS (SELECT FROM releases WHERE releases.digest = component.digest)";

const PRUNE_AUDIT: &str = "
    DELETE FROM release_audit WHERE slot = $1 AND number < (SELECT MIN(number) FROM
        (SELECT number FROM release_audit WHERE slot = $1 ORDER BY number DESC LIMIT $2) AS kept)";

const GENERATION: &str = "SELECT COALESCE(SUM(generation), 0)::BIGINT FROM release_slots";

const DESIRED: &str = "SELECT state FROM release_slots";

/// Numbers of the slots' own locks, which hold until the transaction ends: a row that is not there cannot be locked.
const LOCK_SLOT: &str = "SELECT pg_advisory_xact_lock(hashtext('release_slots'), hashtext($1))";

pub(super) const SLOT: &str = "SELECT state FROM release_slots WHERE slot = $1";

pub(super) const SAVE_SLOT: &str = "
    INSERT INTO release_slots (slot, generation, state) VALUES ($1, $2, $3)
    ON CONFLICT (slot) DO UPDATE SET generation = excluded.generation, state = excluded.state";

const NOTE: &str = "INSERT INTO release_audit (slot, entry) VALUES ($1, $2)";

pub(super) const AUDIT: &str = "SELECT entry FROM release_audit WHERE slot = $1 ORDER BY number DESC LIMIT $2";

const REPORT: &str = "
    INSERT INTO release_nodes (node, slot, seen_at, report) VALUES ($1, $2, $3, $4)
    ON CONFLICT (node, slot) DO UPDATE SET seen_at = excluded.seen_at, report = excluded.report";

pub(super) const FORGET: &str = "
    DELETE FROM release_nodes WHERE (node, slot) IN (
        SELECT node, slot FROM release_nodes WHERE seen_at < $1 FOR UPDATE SKIP LOCKED)";

pub(super) const REPORTS: &str = "SELECT report FROM release_nodes WHERE seen_at >= $1 ORDER BY node, slot";

pub(super) const WITHDRAW: &str = "DELETE FROM release_nodes WHERE node = $1";

#[async_trait]
impl ReleaseRepository for Database {
    async fn add(&self, record: &ReleaseRecord, component: &[u8]) -> Result<Added> {
        self.again(move || async move {
            let mut lease = self.connection().await?;
            let mut tx = lease.begin().await?;
            sqlx::query(ADD_COMPONENT)
                .bind(&record.digest)
                .bind(component)
                .execute(&mut *tx)
                .await?;
            let inserted = sqlx::query(ADD)
                .bind(&record.id)
                .bind(record.slot.as_str())
                .bind(&record.digest)
                .bind(Json(record))
                .execute(&mut *tx)
                .await?;
            let is_new = inserted.rows_affected() == 1;
            let row = sqlx::query(LOCK).bind(&record.id).fetch_one(&mut *tx).await?;
            let Json(mut stored): Json<ReleaseRecord> = row.try_get("record")?;
            if record.signature.is_some() && record.signature != stored.signature {
                stored.signature.clone_from(&record.signature);
                stored.created_by.clone_from(&record.created_by);
                sqlx::query(SIGN)
                    .bind(&stored.id)
                    .bind(Json(&stored))
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
            Ok(Added { record: stored, is_new })
        })
        .await
    }

    async fn get(&self, id: &str) -> Result<Option<ReleaseRecord>> {
        self.again(move || async move {
            let row: Option<(Json<ReleaseRecord>,)> = sqlx::query_as(GET)
                .bind(key(id))
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            Ok(row.map(|(Json(record),)| record))
        })
        .await
    }

    async fn list(&self, slot: SlotName, limit: u32) -> Result<Vec<ReleaseRecord>> {
        self.again(move || async move {
            let rows: Vec<(Json<ReleaseRecord>,)> = sqlx::query_as(LIST)
                .bind(slot.as_str())
                .bind(i64::from(limit))
                .fetch_all(&mut *self.connection().await?)
                .await?;
            Ok(rows.into_iter().map(|(Json(record),)| record).collect())
        })
        .await
    }

    async fn component(&self, digest: &str) -> Result<Option<Vec<u8>>> {
        self.again(move || async move {
            sqlx::query_scalar(COMPONENT)
                .bind(key(digest))
                .fetch_optional(&mut *self.connection().await?)
                .await
        })
        .await
    }

    async fn prune(&self, slot: SlotName, keep: u32) -> Result<u64> {
        self.once(move || async move {
            let mut lease = self.connection().await?;
            let mut tx = lease.begin().await?;
            let state = locked(&mut tx, slot).await?;
            let needed: Vec<&str> = state.needed().collect();
            let gone = sqlx::query(PRUNE)
                .bind(slot.as_str())
                .bind(i64::from(keep))
                .bind(&needed)
                .execute(&mut *tx)
                .await?;
            sqlx::query(PRUNE_COMPONENTS).execute(&mut *tx).await?;
            sqlx::query(PRUNE_AUDIT)
                .bind(slot.as_str())
                .bind(i64::from(AUDIT_ENTRIES))
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(gone.rows_affected())
        })
        .await
    }

    async fn generation(&self) -> Result<u64> {
        self.again(move || async move {
            let sum: i64 = sqlx::query_scalar(GENERATION)
                .fetch_one(&mut *self.connection().await?)
                .await?;
            Ok(u64::try_from(sum).unwrap_or(0))
        })
        .await
    }

    async fn desired(&self) -> Result<Vec<DesiredSlot>> {
        self.again(move || async move {
            let rows: Vec<(Json<DesiredSlot>,)> = sqlx::query_as(DESIRED)
                .fetch_all(&mut *self.connection().await?)
                .await?;
            let mut states: Vec<DesiredSlot> = rows.into_iter().map(|(Json(state),)| state).collect();
            for slot in SlotName::ALL {
                if states.iter().all(|state| state.slot != slot) {
                    states.push(DesiredSlot::untouched(slot));
                }
            }
            states.sort_by_key(|state| state.slot);
            Ok(states)
        })
        .await
    }

    async fn decide(&self, next: &DesiredSlot, entry: &AuditEntry) -> Result<Decided> {
        self.once(move || async move {
            let mut lease = self.connection().await?;
            let mut tx = lease.begin().await?;
            let now = locked(&mut tx, next.slot).await?;
            if now.generation != next.generation {
                return Ok(Decided::Moved(now));
            }
            let mut next = next.clone();
            next.generation += 1;
            sqlx::query(SAVE_SLOT)
                .bind(next.slot.as_str())
                .bind(i64::try_from(next.generation).unwrap_or(i64::MAX))
                .bind(Json(&next))
                .execute(&mut *tx)
                .await?;
            let entry = AuditEntry {
                generation: Some(next.generation),
                ..entry.clone()
            };
            insert_entry(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(Decided::Done(next))
        })
        .await
    }

    async fn note(&self, entry: &AuditEntry) -> Result<()> {
        self.once(move || async move { insert_entry(&mut *self.connection().await?, entry).await })
            .await
    }

    async fn audit(&self, slot: SlotName, limit: u32) -> Result<Vec<AuditEntry>> {
        self.again(move || async move {
            let rows: Vec<(Json<AuditEntry>,)> = sqlx::query_as(AUDIT)
                .bind(slot.as_str())
                .bind(i64::from(limit))
                .fetch_all(&mut *self.connection().await?)
                .await?;
            Ok(rows.into_iter().map(|(Json(entry),)| entry).collect())
        })
        .await
    }

    async fn report(&self, reports: &[NodeReport]) -> Result<()> {
        let Some(latest) = reports.iter().map(|report| report.seen_at).max() else {
            return Ok(());
        };
        self.again(move || async move {
            let mut lease = self.connection().await?;
            let mut tx = lease.begin().await?;
            for report in reports {
                sqlx::query(REPORT)
                    .bind(&report.node)
                    .bind(report.slot.as_str())
                    .bind(report.seen_at)
                    .bind(Json(report))
                    .execute(&mut *tx)
                    .await?;
            }
            sqlx::query(FORGET)
                .bind(latest.plus_seconds(-FORGET_NODES))
                .execute(&mut *tx)
                .await?;
            tx.commit().await
        })
        .await
    }

    async fn reports(&self, since: Timestamp) -> Result<Vec<NodeReport>> {
        self.again(move || async move {
            let rows: Vec<(Json<NodeReport>,)> = sqlx::query_as(REPORTS)
                .bind(since)
                .fetch_all(&mut *self.connection().await?)
                .await?;
            Ok(rows.into_iter().map(|(Json(report),)| report).collect())
        })
        .await
    }

    async fn withdraw(&self, node: &str) -> Result<()> {
        self.again(move || async move {
            sqlx::query(WITHDRAW)
                .bind(key(node))
                .execute(&mut *self.connection().await?)
                .await?;
            Ok(())
        })
        .await
    }
}

/// What a slot is to run; nobody changes it before the transaction ends.
async fn locked(tx: &mut PgConnection, slot: SlotName) -> sqlx::Result<DesiredSlot> {
    sqlx::query(LOCK_SLOT).bind(slot.as_str()).execute(&mut *tx).await?;
    let row: Option<(Json<DesiredSlot>,)> = sqlx::query_as(SLOT)
        .bind(slot.as_str())
        .fetch_optional(&mut *tx)
        .await?;
    Ok(row.map_or_else(|| DesiredSlot::untouched(slot), |(Json(state),)| state))
}

async fn insert_entry(connection: &mut PgConnection, entry: &AuditEntry) -> sqlx::Result<()> {
    sqlx::query(NOTE)
        .bind(entry.slot.as_str())
        .bind(Json(entry))
        .execute(connection)
        .await?;
    Ok(())
}

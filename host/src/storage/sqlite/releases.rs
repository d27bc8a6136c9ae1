//! The tables `releases`, `release_components`, `release_slots`, `release_nodes` and `release_audit`.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

use super::{Database, failed, json, to_json};
use crate::domain::clock::Timestamp;
use crate::domain::release::ReleaseRecord;
use crate::domain::rollout::{AuditEntry, DesiredSlot, NodeReport};
use crate::domain::slot::SlotName;
use crate::ports::releases::{AUDIT_ENTRIES, Added, Decided, FORGET_NODES, ReleaseRepository};
use crate::ports::storage::Result;

const PRUNE: &str = "
    DELETE FROM releases WHERE slot = ?1
        AND number NOT IN (SELECT number FROM releases WHERE slot = ?1 ORDER BY number DESC LIMIT ?2)
        AND id NOT IN (SELECT value FROM json_each(?3))";

#[async_trait]
impl ReleaseRepository for Database {
    async fn add(&self, record: &ReleaseRecord, component: &[u8]) -> Result<Added> {
        let mut tx = self.begin().await?;
        let known = sqlx::query("SELECT record FROM releases WHERE id = ?1")
            .bind(&record.id)
            .fetch_optional(&mut *tx)
            .await
            .map_err(failed)?;
        let added = match known {
            Some(row) => {
                let mut stored: ReleaseRecord = json(&row, "record").map_err(failed)?;
                if record.signature.is_some() && record.signature != stored.signature {
                    stored.signature.clone_from(&record.signature);
                    stored.created_by.clone_from(&record.created_by);
                    sqlx::query("UPDATE releases SET record = ?2 WHERE id = ?1")
                        .bind(&stored.id)
                        .bind(to_json(&stored)?)
                        .execute(&mut *tx)
                        .await
                        .map_err(failed)?;
                }
                Added {
                    record: stored,
                    is_new: false,
                }
            }
            None => {
                sqlx::query("INSERT INTO release_components (digest, bytes) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
                    .bind(&record.digest)
                    .bind(component)
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
                sqlx::query("INSERT INTO releases (id, slot, digest, record) VALUES (?1, ?2, ?3, ?4)")
                    .bind(&record.id)
                    .bind(record.slot.as_str())
                    .bind(&record.digest)
                    .bind(to_json(record)?)
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
                Added {
                    record: record.clone(),
                    is_new: true,
                }
            }
        };
        self.commit(tx).await?;
        Ok(added)
    }

    async fn get(&self, id: &str) -> Result<Option<ReleaseRecord>> {
        let row = sqlx::query("SELECT record FROM releases WHERE id = ?1")
            .bind(id)
            .fetch_optional(&self.read)
            .await
            .map_err(failed)?;
        row.map(|row| json(&row, "record")).transpose().map_err(failed)
    }

    async fn list(&self, slot: SlotName, limit: u32) -> Result<Vec<ReleaseRecord>> {
        let rows = sqlx::query("SELECT record FROM releases WHERE slot = ?1 ORDER BY number DESC LIMIT ?2")
            .bind(slot.as_str())
            .bind(limit)
            .fetch_all(&self.read)
            .await
            .map_err(failed)?;
        documents(&rows, "record")
    }

    async fn component(&self, digest: &str) -> Result<Option<Vec<u8>>> {
        sqlx::query_scalar("SELECT bytes FROM release_components WHERE digest = ?1")
            .bind(digest)
            .fetch_optional(&self.read)
            .await
            .map_err(failed)
    }

    async fn prune(&self, slot: SlotName, keep: u32) -> Result<u64> {
        let mut tx = self.begin().await?;
        let state = slot_state(&mut tx, slot).await?;
        let needed: Vec<&str> = state.needed().collect();
        let gone = sqlx::query(PRUNE)
            .bind(slot.as_str())
            .bind(keep)
            .bind(to_json(&needed)?)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        sqlx::query("DELETE FROM release_components WHERE digest NOT IN (SELECT digest FROM releases)")
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        sqlx::query(
            "DELETE FROM release_audit WHERE slot = ?1 AND number NOT IN
                (SELECT number FROM release_audit WHERE slot = ?1 ORDER BY number DESC LIMIT ?2)",
        )
        .bind(slot.as_str())
        .bind(AUDIT_ENTRIES)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        self.commit(tx).await?;
        Ok(gone.rows_affected())
    }

    async fn generation(&self) -> Result<u64> {
        let sum: i64 = sqlx::query_scalar("SELECT COALESCE(SUM(generation), 0) FROM release_slots")
            .fetch_one(&self.read)
            .await
            .map_err(failed)?;
        Ok(u64::try_from(sum).unwrap_or(0))
    }

    async fn desired(&self) -> Result<Vec<DesiredSlot>> {
        let rows = sqlx::query("SELECT state FROM release_slots")
            .fetch_all(&self.read)
            .await
            .map_err(failed)?;
        let mut states: Vec<DesiredSlot> = documents(&rows, "state")?;
        for slot in SlotName::ALL {
            if states.iter().all(|state| state.slot != slot) {
                states.push(DesiredSlot::untouched(slot));
            }
        }
        states.sort_by_key(|state| state.slot);
        Ok(states)
    }

    async fn decide(&self, next: &DesiredSlot, entry: &AuditEntry) -> Result<Decided> {
        let mut tx = self.begin().await?;
        let now = slot_state(&mut tx, next.slot).await?;
        if now.generation != next.generation {
            return Ok(Decided::Moved(now));
        }
        let mut next = next.clone();
        next.generation += 1;
        sqlx::query(
            "INSERT INTO release_slots (slot, generation, state) VALUES (?1, ?2, ?3)
             ON CONFLICT (slot) DO UPDATE SET generation = excluded.generation, state = excluded.state",
        )
        .bind(next.slot.as_str())
        .bind(i64::try_from(next.generation).unwrap_or(i64::MAX))
        .bind(to_json(&next)?)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        let entry = AuditEntry {
            generation: Some(next.generation),
            ..entry.clone()
        };
        insert_entry(&mut tx, &entry).await?;
        self.commit(tx).await?;
        Ok(Decided::Done(next))
    }

    async fn note(&self, entry: &AuditEntry) -> Result<()> {
        let mut tx = self.begin().await?;
        insert_entry(&mut tx, entry).await?;
        self.commit(tx).await
    }

    async fn audit(&self, slot: SlotName, limit: u32) -> Result<Vec<AuditEntry>> {
        let rows = sqlx::query("SELECT entry FROM release_audit WHERE slot = ?1 ORDER BY number DESC LIMIT ?2")
            .bind(slot.as_str())
            .bind(limit)
            .fetch_all(&self.read)
            .await
            .map_err(failed)?;
        documents(&rows, "entry")
    }

    async fn report(&self, reports: &[NodeReport]) -> Result<()> {
        let Some(latest) = reports.iter().map(|report| report.seen_at).max() else {
            return Ok(());
        };
        let mut tx = self.begin().await?;
        for report in reports {
            sqlx::query(
                "INSERT INTO release_nodes (node, slot, seen_at, report) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (node, slot) DO UPDATE SET seen_at = excluded.seen_at, report = excluded.report",
            )
            .bind(&report.node)
            .bind(report.slot.as_str())
            .bind(report.seen_at.0)
            .bind(to_json(report)?)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        }
        sqlx::query("DELETE FROM release_nodes WHERE seen_at < ?1")
            .bind(latest.plus_seconds(-FORGET_NODES).0)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        self.commit(tx).await
    }

    async fn reports(&self, since: Timestamp) -> Result<Vec<NodeReport>> {
        let rows = sqlx::query("SELECT report FROM release_nodes WHERE seen_at >= ?1 ORDER BY node, slot")
            .bind(since.0)
            .fetch_all(&self.read)
            .await
            .map_err(failed)?;
        documents(&rows, "report")
    }

    async fn withdraw(&self, node: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM release_nodes WHERE node = ?1")
            .bind(node)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        self.commit(tx).await
    }
}

async fn slot_state(tx: &mut Transaction<'static, Sqlite>, slot: SlotName) -> Result<DesiredSlot> {
    let row = sqlx::query("SELECT state FROM release_slots WHERE slot = ?1")
        .bind(slot.as_str())
        .fetch_optional(&mut **tx)
        .await
        .map_err(failed)?;
    match row {
        Some(row) => json(&row, "state").map_err(failed),
        None => Ok(DesiredSlot::untouched(slot)),
    }
}

async fn insert_entry(tx: &mut Transaction<'static, Sqlite>, entry: &AuditEntry) -> Result<()> {
    sqlx::query("INSERT INTO release_audit (slot, entry) VALUES (?1, ?2)")
        .bind(entry.slot.as_str())
        .bind(to_json(entry)?)
        .execute(&mut **tx)
        .await
        .map_err(failed)?;
    Ok(())
}

fn documents<T: serde::de::DeserializeOwned>(rows: &[SqliteRow], column: &str) -> Result<Vec<T>> {
    rows.iter()
        .map(|row| json(row, column))
        .collect::<sqlx::Result<_>>()
        .map_err(failed)
}

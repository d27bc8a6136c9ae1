//! The table `refresh_families`. Holds token ids, never tokens.

use async_trait::async_trait;
use sqlx::Row;

use super::{Database, key};
use crate::domain::clock::Timestamp;
use crate::ports::storage::{RefreshFamily, RefreshRepository, Result, Rotated};

pub(super) const START: &str = "
    INSERT INTO refresh_families (family_id, player_id, user_id, current_jti, expires_at, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $6)";

pub(super) const LOCK: &str = "
    SELECT player_id, user_id, current_jti FROM refresh_families
    WHERE family_id = $1 AND revoked_at IS NULL AND expires_at > $2 FOR UPDATE";

pub(super) const SPEND: &str =
    "UPDATE refresh_families SET current_jti = $2, expires_at = $3, updated_at = $4 WHERE family_id = $1";

pub(super) const REVOKE: &str = "UPDATE refresh_families SET revoked_at = $2, updated_at = $2 WHERE family_id = $1";

// Two nodes may purge at once: what one of them holds is its business.
pub(super) const PURGE: &str = "
    DELETE FROM refresh_families WHERE family_id IN (
        SELECT family_id FROM refresh_families WHERE expires_at < $1 FOR UPDATE SKIP LOCKED)";

#[async_trait]
impl RefreshRepository for Database {
    async fn start(&self, family: &RefreshFamily, now: Timestamp) -> Result<()> {
        self.once(move || async move {
            sqlx::query(START)
                .bind(&family.family_id)
                .bind(&family.player_id)
                .bind(&family.user_id)
                .bind(&family.current_jti)
                .bind(family.expires_at)
                .bind(now)
                .execute(&mut *self.connection().await?)
                .await?;
            Ok(())
        })
        .await
    }

    async fn rotate(
        &self,
        family_id: &str,
        presented: &str,
        next: &str,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Rotated> {
        self.once(move || async move {
            let mut lease = self.connection().await?;
            let mut tx = lease.begin().await?;
            let row = sqlx::query(LOCK)
                .bind(key(family_id))
                .bind(now)
                .fetch_optional(&mut *tx)
                .await?;
            let Some(row) = row else {
                return Ok(Rotated::Refused);
            };
            let answer = if row.try_get::<&str, _>("current_jti")? == presented {
                sqlx::query(SPEND)
                    .bind(family_id)
                    .bind(next)
                    .bind(expires_at)
                    .bind(now)
                    .execute(&mut *tx)
                    .await?;
                Rotated::Done(RefreshFamily {
                    family_id: family_id.to_owned(),
                    player_id: row.try_get("player_id")?,
                    user_id: row.try_get("user_id")?,
                    current_jti: next.to_owned(),
                    expires_at,
                })
            } else {
                // Every token of the family but the current one was spent: two parties hold tokens of one sign-in.
                sqlx::query(REVOKE).bind(family_id).bind(now).execute(&mut *tx).await?;
                Rotated::Reused
            };
            tx.commit().await?;
            Ok(answer)
        })
        .await
    }

    async fn purge(&self, cutoff: Timestamp) -> Result<u64> {
        self.once(move || async move {
            let done = sqlx::query(PURGE)
                .bind(cutoff)
                .execute(&mut *self.connection().await?)
                .await?;
            Ok(done.rows_affected())
        })
        .await
    }
}

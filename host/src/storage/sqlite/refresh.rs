//! The table `refresh_families`. Holds token ids, never tokens.

use async_trait::async_trait;
use sqlx::Row;

use super::{Database, failed};
use crate::domain::clock::Timestamp;
use crate::ports::storage::{RefreshFamily, RefreshRepository, Result, Rotated};

#[async_trait]
impl RefreshRepository for Database {
    async fn start(&self, family: &RefreshFamily, now: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO refresh_families (family_id, player_id, user_id, current_jti, expires_at, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        )
        .bind(&family.family_id)
        .bind(&family.player_id)
        .bind(&family.user_id)
        .bind(&family.current_jti)
        .bind(family.expires_at.0)
        .bind(now.0)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        self.commit(tx).await
    }

    async fn rotate(
        &self,
        family_id: &str,
        presented: &str,
        next: &str,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Rotated> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "SELECT player_id, user_id, current_jti FROM refresh_families
             WHERE family_id = ?1 AND revoked_at IS NULL AND expires_at > ?2",
        )
        .bind(family_id)
        .bind(now.0)
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
        let Some(row) = row else {
            return Ok(Rotated::Refused);
        };
        let current: String = row.try_get("current_jti").map_err(failed)?;
        let answer = if current == presented {
            sqlx::query(
                "UPDATE refresh_families SET current_jti = ?2, expires_at = ?3, updated_at = ?4 WHERE family_id = ?1",
            )
            .bind(family_id)
            .bind(next)
            .bind(expires_at.0)
            .bind(now.0)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
            Rotated::Done(RefreshFamily {
                family_id: family_id.to_owned(),
                player_id: row.try_get("player_id").map_err(failed)?,
                user_id: row.try_get("user_id").map_err(failed)?,
                current_jti: next.to_owned(),
                expires_at,
            })
        } else {
            // Every token of the family but the current one was spent: two parties hold tokens of one sign-in.
            sqlx::query("UPDATE refresh_families SET revoked_at = ?2, updated_at = ?2 WHERE family_id = ?1")
                .bind(family_id)
                .bind(now.0)
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
            Rotated::Reused
        };
        self.commit(tx).await?;
        Ok(answer)
    }

    async fn purge(&self, cutoff: Timestamp) -> Result<u64> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("DELETE FROM refresh_families WHERE expires_at < ?1")
            .bind(cutoff.0)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        self.commit(tx).await?;
        Ok(done.rows_affected())
    }
}

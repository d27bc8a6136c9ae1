//! Leases that all nodes compete for. Fences start at the server's clock in seconds, so that they grow even when the server
//! has lost its data.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;

use super::connection::Connection;
use super::link::Script;
use crate::ports::live::{Fence, Leases, Result};

/// How long the last fence of a lease that nobody wants is known, in seconds. The clock has passed it long before.
const FENCE_TTL: u32 = 24 * 3600;

/// A lease is kept as `<fence> <holder>`. KEYS: the lease, its fence. ARGV: holder, TTL in milliseconds, TTL of the fence.
static ACQUIRE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local held = redis.call('GET', KEYS[1])
        if held then
            local fence, holder = held:match('^(%d+) (.*)$')
            if holder ~= ARGV[1] then return false end
            redis.call('PEXPIRE', KEYS[1], ARGV[2])
            return tonumber(fence)
        end
        local last = tonumber(redis.call('GET', KEYS[2]) or '0')
        local fence = math.max(last + 1, tonumber(redis.call('TIME')[1]))
        redis.call('SET', KEYS[2], string.format('%.0f', fence), 'EX', ARGV[3])
        redis.call('SET', KEYS[1], string.format('%.0f ', fence) .. ARGV[1], 'PX', ARGV[2])
        return fence
        ",
    )
});

/// KEYS: the lease. ARGV: fence, TTL in milliseconds or nothing to give it up.
static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local held = redis.call('GET', KEYS[1])
        if not held or held:match('^(%d+) ') ~= ARGV[1] then return 0 end
        if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
        return redis.call('PEXPIRE', KEYS[1], ARGV[2])
        ",
    )
});

/// The leases.
pub(super) struct SharedLeases(pub(super) Connection);

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[async_trait]
impl Leases for SharedLeases {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Fence>> {
        let names = self.0.keys();
        let keys = [names.lease(name), names.fence(name)];
        let fence: Option<u64> = self.0.eval(&ACQUIRE, &keys, &(holder, millis(ttl), FENCE_TTL)).await?;
        Ok(fence.map(Fence))
    }

    async fn renew(&self, name: &str, fence: Fence, ttl: Duration) -> Result<bool> {
        self.0
            .eval(&RENEW, &[self.0.keys().lease(name)], &(fence.0, millis(ttl)))
            .await
    }

    async fn release(&self, name: &str, fence: Fence) -> Result<bool> {
        self.0.eval(&RENEW, &[self.0.keys().lease(name)], &(fence.0, "")).await
    }
}

//! What an instance carries with it: its memory cap, its log budget, what its imports may look at during a call, and an
//! empty WASI for components whose toolchain insists on one. Grants nothing.

use wasmtime::ResourceLimiter;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};

use super::failure::shortened;
use super::limits;
use super::slot_name::SlotName;

/// The data of one store. `C` is what the imports of the slot look at.
pub struct GuestState<C> {
    /// The call in hand.
    pub call: C,
    slot: SlotName,
    memory: MemoryCap,
    log_lines: u32,
    wasi: Option<Box<EmptyWasi>>,
}

impl<C: Default> GuestState<C> {
    /// State for a new instance.
    #[must_use]
    pub fn new(slot: SlotName) -> Self {
        Self {
            call: C::default(),
            slot,
            memory: MemoryCap {
                used: 0,
                most: limits::MEMORY_BYTES,
            },
            log_lines: limits::LOG_LINES,
            wasi: None,
        }
    }
}

impl<C> GuestState<C> {
    /// Gives the next call its full log budget.
    pub const fn refill(&mut self) {
        self.log_lines = limits::LOG_LINES;
    }

    /// Narrows the cap on the instance's memory, in bytes.
    pub const fn cap_memory(&mut self, most: usize) {
        if most < self.memory.most {
            self.memory.most = most;
        }
    }

    /// Linear memory that the instance has, in bytes.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.memory.used
    }

    /// The cap on the instance's memory.
    pub const fn limiter(&mut self) -> &mut MemoryCap {
        &mut self.memory
    }

    /// Writes one line of the policy to the log, within the budget of the call.
    pub fn log(&mut self, level: tracing::Level, message: &str) {
        let Some(left) = self.log_lines.checked_sub(1) else {
            return;
        };
        self.log_lines = left;
        let (slot, message) = (self.slot.as_str(), shortened(message, limits::LOG_LINE_BYTES));
        match level {
            tracing::Level::DEBUG => tracing::debug!(target: "policy", slot, "{message}"),
            tracing::Level::WARN => tracing::warn!(target: "policy", slot, "{message}"),
            _ => tracing::info!(target: "policy", slot, "{message}"),
        }
        if left == 0 {
            tracing::debug!(target: "policy", slot, "further lines of this call are dropped");
        }
    }
}

impl<C: Send> WasiView for GuestState<C> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.get_or_insert_with(|| {
            Box::new(EmptyWasi {
                ctx: WasiCtx::builder().allow_tcp(false).allow_udp(false).build(),
                table: ResourceTable::new(),
            })
        });
        WasiCtxView {
            ctx: &mut wasi.ctx,
            table: &mut wasi.table,
        }
    }
}

/// No files, no network, no environment, no arguments; output goes nowhere.
struct EmptyWasi {
    ctx: WasiCtx,
    table: ResourceTable,
}

/// Caps what one instance may hold.
pub struct MemoryCap {
    used: usize,
    most: usize,
}

/// The guest wanted more memory or table than it may have. Ends the call.
#[derive(Debug, thiserror::Error)]
#[error("the policy wants {wanted} {unit}, more than the {most} it may have")]
pub struct MemoryCapReached {
    wanted: usize,
    most: usize,
    unit: &'static str,
}

impl ResourceLimiter for MemoryCap {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.used.saturating_sub(current).saturating_add(desired);
        if wanted > self.most {
            return Err(wasmtime::Error::new(MemoryCapReached {
                wanted,
                most: self.most,
                unit: "bytes",
            }));
        }
        self.used = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > limits::TABLE_ELEMENTS {
            return Err(wasmtime::Error::new(MemoryCapReached {
                wanted: desired,
                most: limits::TABLE_ELEMENTS,
                unit: "table elements",
            }));
        }
        Ok(true)
    }
}

//! The WebAssembly engine of the process, the thread that moves its epoch and the threads that compile. Knows nothing of
//! slots or worlds.

use wasmtime::component::Component;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::compile::Compilers;
use super::limits;

/// The engine. Its ticker runs as long as anything holds the engine, be it a release or an instance, so that no guest is
/// ever without a deadline.
pub struct PolicyEngine {
    engine: Engine,
    compilers: Compilers,
}

impl PolicyEngine {
    /// Builds the engine and starts its ticker.
    ///
    /// # Errors
    ///
    /// When the machine does not allow the address space or the thread.
    pub fn start() -> anyhow::Result<Self> {
        let engine = Engine::new(&config())?;
        let ticking = engine.weak();
        std::thread::Builder::new()
            .name("policy-ticker".to_owned())
            .spawn(move || {
                while let Some(engine) = ticking.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(limits::TICK);
                }
            })?;
        Ok(Self {
            engine,
            compilers: Compilers::start()?,
        })
    }

    /// Compiles a component on the threads that are there for it, and waits for it.
    ///
    /// # Errors
    ///
    /// When it does not compile within [`limits::COMPILE`].
    pub fn compile(&self, bytes: &[u8]) -> wasmtime::Result<Component> {
        self.compilers.compile(&self.engine, bytes)
    }

    /// The engine itself; cheap to clone.
    #[must_use]
    pub const fn get(&self) -> &Engine {
        &self.engine
    }
}

fn config() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(limits::TOTAL_INSTANCES)
        .total_core_instances(limits::TOTAL_CORE_INSTANCES)
        .total_memories(limits::TOTAL_MEMORIES)
        .total_tables(limits::TOTAL_MEMORIES)
        .total_stacks(0)
        .max_core_instances_per_component(limits::CORE_INSTANCES)
        .max_memories_per_component(4)
        .max_tables_per_component(8)
        .max_memory_size(limits::MEMORY_BYTES)
        .table_elements(limits::TABLE_ELEMENTS)
        .max_unused_warm_slots(16)
        .linear_memory_keep_resident(2 << 20)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_reservation(limits::MEMORY_BYTES as u64)
        .memory_may_move(false)
        .epoch_interruption(true)
        .max_wasm_stack(limits::STACK_BYTES)
        .wasm_backtrace_max_frames(None)
        .wasm_component_model(true)
        .concurrency_support(false);
    config
}

//! The guest's whole world: one file system, clock and random source, seen through WASI 0.1 or WASI 0.2.
//!
//! Everything is synchronous and in memory. Nothing here is wiped when it is dropped, because the process that holds
//! it serves one run and is then killed, and the kernel clears its pages before it gives them to anybody.

mod files;
mod host;
mod inputs;
mod preview1;
mod preview2;

use wasmtime::component::{Component, ResourceTable};
use wasmtime::{Engine, InstancePre, Module, Store, Trap};

pub(crate) use files::NODES_MAX;
pub use files::is_output_path;
use host::Stop;
pub(crate) use host::{Host, STDERR_BYTES_MAX};
pub(crate) use inputs::{ChunkFailed, ChunkSource};

use crate::job::Metering;
use crate::outcome::Limit;
use crate::wire::{Assignment, Ending};

/// Most bytes of a trap's reason.
const REASON_BYTES_MAX: usize = 1 << 10;

/// Most bytes that one call out of a component may copy to the host.
const CALL_BYTES_MAX: usize = 16 << 20;

/// Descriptors, streams and the like that a component may hold at once.
const RESOURCES_MAX: usize = 16_384;

/// A program whose every import is answered.
pub(crate) enum Program {
    Module(InstancePre<Host>),
    Component(preview2::ProgramPre<Host>),
}

/// Why a program cannot be linked.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// It wants something that nobody offers.
    UnknownImport(String),
    /// It has nothing to call.
    NotACommand,
    /// Something else is wrong with it.
    Invalid(String),
}

/// How a guest ended, and what it left.
pub(crate) struct Ended {
    pub(crate) how: Ending,
    pub(crate) host: Host,
}

impl Program {
    pub(crate) fn from_module(engine: &Engine, module: &Module) -> Result<Self, LinkError> {
        let start = module.get_export("_start").and_then(|export| export.func().cloned());
        if start.is_none_or(|start| start.params().len() + start.results().len() > 0) {
            return Err(LinkError::NotACommand);
        }
        let mut linker = wasmtime::Linker::new(engine);
        preview1::add_to(&mut linker).map_err(LinkError::invalid)?;
        linker.instantiate_pre(module).map(Self::Module).map_err(LinkError::of_module)
    }

    pub(crate) fn from_component(engine: &Engine, component: &Component) -> Result<Self, LinkError> {
        let mut linker = wasmtime::component::Linker::new(engine);
        preview2::add_to(&mut linker).map_err(LinkError::invalid)?;
        preview2::deny_sockets(engine, &mut linker, component).map_err(LinkError::invalid)?;
        preview2::check_imports(engine, component)?;
        let instance = linker.instantiate_pre(component).map_err(LinkError::of_component)?;
        preview2::ProgramPre::new(instance).map(Self::Component).map_err(|_| LinkError::NotACommand)
    }

    /// Runs the guest to its end.
    ///
    /// `Err` holds a stop that is not the guest's doing.
    pub(crate) fn run(&self, engine: &Engine, task: &Assignment, host: Host) -> Result<Ended, ChunkFailed> {
        let mut store = Store::new(engine, host);
        store.limiter(|host| &mut host.meter);
        let called = fuel(&mut store, task).and_then(|()| self.call(&mut store));
        let mut host = store.into_data();
        let how = match (host.stop.take(), called) {
            (Some(Stop::Exit(code)), _) => Ending::Exited(code),
            (Some(Stop::Limit(limit)), _) => Ending::Limit(limit),
            (Some(Stop::Input), _) => return Err(ChunkFailed),
            (None, Ok(code)) => Ending::Exited(code),
            (None, Err(error)) => ended_by(&error, host.meter.was_refused()),
        };
        Ok(Ended { how, host })
    }

    fn call(&self, store: &mut Store<Host>) -> wasmtime::Result<i32> {
        match self {
            Self::Module(program) => {
                let instance = program.instantiate(&mut *store)?;
                instance.get_typed_func::<(), ()>(&mut *store, "_start")?.call(store, ())?;
                Ok(0)
            }
            Self::Component(program) => {
                store.set_hostcall_fuel(CALL_BYTES_MAX);
                let instance = program.instantiate(&mut *store)?;
                Ok(i32::from(instance.wasi_cli_run().call_run(store)?.is_err()))
            }
        }
    }
}

fn fuel(store: &mut Store<Host>, task: &Assignment) -> wasmtime::Result<()> {
    if task.metering == Metering::None { Ok(()) } else { store.set_fuel(task.limits.fuel()) }
}

/// A guest that failed after it had been refused memory failed for that reason.
fn ended_by(error: &wasmtime::Error, memory_refused: bool) -> Ending {
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::OutOfFuel) {
        return Ending::Limit(Limit::Fuel);
    }
    if memory_refused {
        return Ending::Limit(Limit::Memory);
    }
    let mut reason = trap.map_or_else(|| format!("{error:#}"), ToString::to_string).replace('\n', " ");
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    Ending::Trapped(reason)
}

impl LinkError {
    fn invalid(error: wasmtime::Error) -> Self {
        Self::Invalid(format!("{error:#}"))
    }

    fn of_module(error: wasmtime::Error) -> Self {
        match error.downcast_ref::<wasmtime::UnknownImportError>() {
            Some(unknown) => Self::UnknownImport(format!("{}::{}", unknown.module(), unknown.name())),
            None => Self::invalid(error),
        }
    }

    fn of_component(error: wasmtime::Error) -> Self {
        Self::invalid(error)
    }
}

fn resource_table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES_MAX);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::engine;
    use crate::job::Limits;
    use crate::wire::Kind;

    struct NoInputs;

    impl ChunkSource for NoInputs {
        fn fetch(&mut self, _: usize, _: u64, _: &mut [u8]) -> Result<(), ChunkFailed> {
            Err(ChunkFailed)
        }
    }

    /// Runs in this very process, so that no wall clock ends the guest before its fuel does.
    fn run(metering: Metering, text: &str) -> Ended {
        let engine = engine(metering).expect("the settings fit together");
        let module = wat::parse_str(text).expect("the test's module is well-formed");
        let module = Module::from_binary(&engine, &module).expect("it uses nothing that is left out");
        let program = Program::from_module(&engine, &module).expect("it imports what there is");
        let limits = Limits { run_ms: 1, memory_bytes: 1 << 20, output_bytes: 1 << 20 };
        let task = Assignment { kind: Kind::Module, metering, args: vec![], inputs: vec![], limits, seed: [0; 32] };
        program.run(&engine, &task, Host::new(&task, Box::new(NoInputs))).expect("no input is asked for")
    }

    const RANDOM: &str = r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2)"#;

    #[test]
    fn a_metered_guest_ends_by_fuel_and_always_at_the_same_point() {
        // Counts its turns into the random bytes' place, and prints nothing: the last count is what is compared.
        let text = format!(
            "(module {RANDOM} (data (i32.const 8) \"\\00\\00\\00\\00\\01\\00\\00\\00\")
                (func (export \"_start\") (loop $again
                    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))
                    (br $again))))"
        );
        for metering in [Metering::Fuel, Metering::FuelNan] {
            let (one, other) = (run(metering, &text), run(metering, &text));
            assert_eq!(one.how, Ending::Limit(Limit::Fuel));
            assert_eq!(one.host.stdout.len(), other.host.stdout.len());
        }
    }

    #[test]
    fn work_of_the_host_counts_as_fuel() {
        let text = format!(
            "(module {RANDOM} (func (export \"_start\")
                (loop $again (drop (call $random (i32.const 0) (i32.const 131072))) (br $again))))"
        );
        assert_eq!(run(Metering::Fuel, &text).how, Ending::Limit(Limit::Fuel));
    }
}

//! Turns a WASI 0.1 module into a WASI 0.2 command component: `componentize MODULE COMPONENT`.

use anyhow::{Context, Result};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as ADAPTER,
};
use wit_component::ComponentEncoder;

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let usage = "usage: componentize MODULE COMPONENT";
    let (from, to) = (args.next().context(usage)?, args.next().context(usage)?);
    let module = std::fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    let component = ComponentEncoder::default().validate(true).module(&module)?.adapter(NAME, ADAPTER)?.encode()?;
    std::fs::write(&to, component).with_context(|| format!("cannot write {}", to.display()))
}

//! To be written.
use anyhow::bail;
pub(crate) fn run(_: &[String]) -> anyhow::Result<()> {
    bail!("not yet")
}

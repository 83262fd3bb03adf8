//! Rebuilds the committed guest programs from their sources.

/// Rebuilds all guests.
pub(crate) fn run() -> anyhow::Result<()> {
    anyhow::bail!("the guests have no sources yet")
}

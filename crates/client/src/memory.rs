//! The last head seen of each network, kept between commands: a later log must extend it.

use std::path::{Path, PathBuf};

use model::{Digest, NetworkId};
use serde::{Deserialize, Serialize};

use crate::{
    file::{FileError, read_toml, write_atomically},
    network::Checkpoint,
};

/// Where the client keeps what must outlive a command: last heads, and publishing under way.
#[derive(Clone, Debug)]
pub struct StateDir(PathBuf);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LastHead {
    height: u64,
    time_ms: u64,
    log_size: u64,
    log_root: Digest,
}

impl StateDir {
    /// A folder; it is made when it is needed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder of one network.
    pub(crate) fn of_network(&self, network: &NetworkId) -> PathBuf {
        self.0.join(network.to_string())
    }

    fn last_head_file(&self, network: &NetworkId) -> PathBuf {
        self.of_network(network).join("head.toml")
    }

    /// The last head seen; `None` if there was none.
    pub(crate) fn last_head(&self, network: &NetworkId) -> Result<Option<Checkpoint>, FileError> {
        let path = self.last_head_file(network);
        if !path.exists() {
            return Ok(None);
        }
        let last: LastHead = read_toml(&path)?.value;
        Ok(Some(Checkpoint {
            height: last.height,
            time_ms: last.time_ms,
            log_size: last.log_size,
            log_root: last.log_root,
        }))
    }

    /// Remembers a head, unless a later one is remembered already: other commands may have run meanwhile.
    pub(crate) fn remember(&self, network: &NetworkId, head: &Checkpoint) -> Result<(), FileError> {
        if self.last_head(network)?.is_some_and(|last| last.log_size >= head.log_size) {
            return Ok(());
        }
        let &Checkpoint { height, time_ms, log_size, log_root } = head;
        write_text(&self.last_head_file(network), &LastHead { height, time_ms, log_size, log_root })
    }
}

fn write_text(path: &Path, value: &LastHead) -> Result<(), FileError> {
    let text = toml::to_string(value).map_err(|cause| FileError::whole(path, cause.to_string()))?;
    write_atomically(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_remembered_at_first_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        let network = NetworkId([7; 32]);
        assert_eq!(state.last_head(&network).unwrap(), None);
        let head = |log_size| Checkpoint { height: 3, time_ms: 9, log_size, log_root: Digest([1; 32]) };
        state.remember(&network, &head(2)).unwrap();
        state.remember(&network, &head(1)).unwrap();
        assert_eq!(state.last_head(&network).unwrap(), Some(head(2)), "an earlier head does not replace a later one");
        std::fs::write(state.last_head_file(&network), "height = 'x'").unwrap();
        assert!(state.last_head(&network).unwrap_err().to_string().contains("head.toml, line 1"));
    }
}

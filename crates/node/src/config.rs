//! `node.toml`: what the operator wrote ([`RawConfig`]) and what the node needs ([`Config`]).
//!
//! The file is parsed once, here. Unknown lines are refused, because a misspelt option that is silently ignored is
//! worse than a node that does not start. Paths are relative to the folder of the file.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use model::NodeId;
use serde::{Deserialize, Serialize};

/// A node's configuration file, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// The network's genesis.
    pub genesis: PathBuf,
    /// Folder with everything this node keeps. Backed up, or lost, as a whole.
    #[serde(default = "this_folder")]
    pub data: PathBuf,
    /// Release statements, one file per approved binary.
    pub releases: PathBuf,
    /// `simulated` (a software TPM in the data folder) or the path of a device such as `/dev/tpmrm0`.
    pub tpm: String,
    /// Where this node listens.
    pub listen: RawListen,
    /// What it keeps on its disk.
    #[serde(default)]
    pub storage: RawStorage,
    /// The other validators.
    #[serde(default)]
    pub peers: Vec<RawPeer>,
}

/// What a node keeps on its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawStorage {
    /// Most MiB of blocks that this node has promised nobody to keep: what it fetched to run tasks, and uploads that it has not
    /// acknowledged. Also the largest upload that it takes.
    pub cache_mib: u64,
}

impl Default for RawStorage {
    fn default() -> Self {
        Self { cache_mib: 16 << 10 }
    }
}

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawListen {
    /// HTTP API.
    pub api: SocketAddr,
    /// Consensus peers.
    pub consensus: SocketAddr,
    /// Content peers, as a libp2p multiaddress.
    pub content: String,
}

/// Another validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPeer {
    /// Its node id.
    pub node: NodeId,
    /// Where its consensus engine listens.
    pub consensus: SocketAddr,
    /// Where its content peer listens, as a libp2p multiaddress.
    pub content: String,
}

fn this_folder() -> PathBuf {
    PathBuf::from(".")
}

/// Why a configuration is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The operator named a file that cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The operator wrote something that is not a configuration.
    #[error("{}, line {line}: {reason}; this is no node configuration", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// An address that libp2p does not understand.
    #[error("'{text}' is not a multiaddress such as /ip4/127.0.0.1/tcp/4001")]
    Multiaddress {
        /// What was written.
        text: String,
    },
}

/// A node's configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The network's genesis file.
    pub genesis: PathBuf,
    /// Where everything is.
    pub layout: Layout,
    /// Folder of release statements.
    pub releases: PathBuf,
    /// Which TPM.
    pub tpm: TpmSource,
    /// HTTP API address.
    pub api: SocketAddr,
    /// Consensus address.
    pub consensus: SocketAddr,
    /// Content address.
    pub content: content::Multiaddr,
    /// Most bytes of blocks that this node has promised nobody to keep.
    pub cache_bytes: u64,
    /// The other validators.
    pub peers: Vec<Peer>,
}

/// Another validator.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its node id.
    pub node: NodeId,
    /// Consensus address.
    pub consensus: SocketAddr,
    /// Content address.
    pub content: content::Multiaddr,
}

/// Which TPM a node has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TpmSource {
    /// Software, kept in the data folder, started by the launcher.
    Simulated,
    /// A character device.
    Device(PathBuf),
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`]: the operator's to mend.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?;
        let raw: RawConfig = toml::from_str(&text).map_err(|cause| malformed(path, &text, &cause))?;
        Self::resolve(raw, path.parent().unwrap_or(Path::new(".")))
    }

    fn resolve(raw: RawConfig, base: &Path) -> Result<Self, ConfigError> {
        let peer = |peer: RawPeer| {
            Ok(Peer { node: peer.node, consensus: peer.consensus, content: multiaddress(&peer.content)? })
        };
        Ok(Self {
            genesis: base.join(raw.genesis),
            layout: Layout::new(base.join(raw.data)),
            releases: base.join(raw.releases),
            tpm: match raw.tpm.as_str() {
                "simulated" => TpmSource::Simulated,
                device => TpmSource::Device(PathBuf::from(device)),
            },
            api: raw.listen.api,
            consensus: raw.listen.consensus,
            content: multiaddress(&raw.listen.content)?,
            cache_bytes: raw.storage.cache_mib.saturating_mul(1 << 20),
            peers: raw.peers.into_iter().map(peer).collect::<Result<_, _>>()?,
        })
    }
}

fn malformed(path: &Path, text: &str, cause: &toml::de::Error) -> ConfigError {
    let start = cause.span().map_or(0, |span| span.start);
    let line = text.get(..start).unwrap_or(text).matches('\n').count() + 1;
    ConfigError::Malformed { path: path.to_owned(), line, reason: cause.message().trim().replace('\n', ", ") }
}

fn multiaddress(text: &str) -> Result<content::Multiaddr, ConfigError> {
    text.parse().map_err(|_| ConfigError::Multiaddress { text: text.to_owned() })
}

/// Where a node keeps what. One folder, backed up or lost as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    data: PathBuf,
}

impl Layout {
    /// The layout under `data`.
    pub fn new(data: PathBuf) -> Self {
        Self { data }
    }

    /// The folder itself.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The node's seed, sealed by its TPM.
    pub fn identity(&self) -> PathBuf {
        self.data.join("identity.sealed")
    }

    /// The node's share of the network key, encrypted under a key of the identity.
    pub fn share(&self) -> PathBuf {
        self.data.join("share.sealed")
    }

    /// State of the software TPM.
    pub fn tpm(&self) -> PathBuf {
        self.data.join("tpm")
    }

    /// What the launcher measured since the TPM was reset.
    pub fn event_log(&self) -> PathBuf {
        self.data.join("event-log.cbor")
    }

    /// Blocks of content.
    pub fn blocks(&self) -> PathBuf {
        self.data.join("blocks")
    }

    /// The ledger engine's storage.
    pub fn ledger(&self) -> PathBuf {
        self.data.join("ledger")
    }

    /// Shares and releases.
    pub fn custody(&self) -> PathBuf {
        self.data.join("custody")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        genesis = "../genesis.cbor"
        releases = "/srv/releases"
        tpm = "simulated"
        [listen]
        api = "127.0.0.1:1"
        consensus = "127.0.0.1:2"
        content = "/ip4/127.0.0.1/tcp/3"
    "#;

    fn resolve(text: &str) -> Result<Config, String> {
        let raw = toml::from_str(text).map_err(|cause| cause.to_string())?;
        Config::resolve(raw, Path::new("/net/node-0")).map_err(|cause| cause.to_string())
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = resolve(FILE).unwrap();
        assert_eq!(config.genesis, Path::new("/net/node-0/../genesis.cbor"));
        assert_eq!(config.releases, Path::new("/srv/releases"));
        assert_eq!(config.layout.blocks(), Path::new("/net/node-0/./blocks"));
        assert_eq!(config.tpm, TpmSource::Simulated);
    }

    #[test]
    fn a_device_is_whatever_is_not_simulated() {
        let config = resolve(&FILE.replace("simulated", "/dev/tpmrm0")).unwrap();
        assert_eq!(config.tpm, TpmSource::Device("/dev/tpmrm0".into()));
    }

    #[test]
    fn the_cache_has_a_bound_that_the_operator_may_change() {
        assert_eq!(resolve(FILE).unwrap().cache_bytes, 16 << 30);
        assert_eq!(resolve(&format!("{FILE}\n[storage]\ncache_mib = 3")).unwrap().cache_bytes, 3 << 20);
        assert!(resolve(&format!("{FILE}\n[storage]\ncache_gb = 3")).unwrap_err().contains("cache_gb"));
    }

    #[test]
    fn unknown_lines_are_refused() {
        let problem = resolve(&format!("{FILE}\nconsensus_timeout = 3")).unwrap_err();
        assert!(problem.contains("consensus_timeout"), "{problem}");
    }

    #[test]
    fn a_missing_listen_address_is_refused() {
        let problem = resolve(&FILE.replace("api = \"127.0.0.1:1\"", "")).unwrap_err();
        assert!(problem.contains("api"), "{problem}");
    }

    #[test]
    fn nonsense_is_no_multiaddress() {
        let problem = resolve(&FILE.replace("/ip4/127.0.0.1/tcp/3", "127.0.0.1:3")).unwrap_err();
        assert!(problem.contains("multiaddress"), "{problem}");
    }
}

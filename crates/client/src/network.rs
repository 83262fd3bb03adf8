//! The network file: which network, under which key, and who answers for it.

use std::path::Path;

use model::{Bytes96, CustodyMode, Digest, NetworkId, NodeId};
use serde::{Deserialize, Serialize};

use crate::file::{FileError, Parsed, parse_toml, read_toml};

/// A network as its file describes it. All that a client believes without proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFile {
    /// A name for people.
    pub name: String,
    /// Digest of the genesis.
    pub id: NetworkId,
    /// The key under which every certificate verifies.
    pub key: Bytes96,
    /// Whether software TPMs are believed.
    pub simulated: bool,
    /// How keys are held there.
    pub custody: CustodyMode,
    /// Nodes with an HTTP API.
    pub nodes: Vec<NodeAddress>,
    /// A head known to be on this network, which every later log must extend.
    pub checkpoint: Option<Checkpoint>,
}

/// A node that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeAddress {
    /// Its key.
    pub id: NodeId,
    /// Base of its HTTP API.
    pub api: String,
}

/// A known point of the ledger (SECURITY.md: the network key alone does not date a certificate).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Height of the block.
    pub height: u64,
    /// Its ledger time, milliseconds.
    pub time_ms: u64,
    /// Records in its log.
    pub log_size: u64,
    /// Root of its log.
    pub log_root: Digest,
}

impl Checkpoint {
    /// The point of the ledger that a certified head is.
    pub(crate) fn of(head: &finality::Head) -> Self {
        Self { height: head.height(), time_ms: head.time_ms(), log_size: head.log_size(), log_root: head.log_root() }
    }
}

/// Checks the base of a node's HTTP API.
///
/// # Errors
/// What is wrong with it, for people.
pub fn check_api(api: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(api).ok();
    let is_base = url.is_some_and(|url| url.scheme() == "http" && url.has_host());
    if is_base { Ok(()) } else { Err(format!("'{api}' is not an address such as http://127.0.0.1:4000")) }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNetwork {
    #[serde(default)]
    name: String,
    id: NetworkId,
    key: Bytes96,
    #[serde(default)]
    simulated: bool,
    #[serde(default = "strict")]
    custody: CustodyMode,
    #[serde(default)]
    nodes: Vec<NodeAddress>,
    checkpoint: Option<Checkpoint>,
}

fn strict() -> CustodyMode {
    CustodyMode::Strict
}

impl NetworkFile {
    /// Reads a network file.
    ///
    /// # Errors
    /// [`FileError`] with the line that is wrong.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Self::check(read_toml(path)?)
    }

    /// The same, from text; `path` is only named in complaints.
    ///
    /// # Errors
    /// [`FileError`] with the line that is wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        Self::check(parse_toml(path, text.to_owned())?)
    }

    /// What a proof of this network is checked against.
    pub fn proof_network(&self) -> proof::Network {
        proof::Network {
            id: self.id,
            key: self.key,
            simulated: self.simulated,
            checkpoint: self.checkpoint.map(|known| proof::Checkpoint {
                height: known.height,
                time_ms: known.time_ms,
                log_size: known.log_size,
                log_root: known.log_root,
            }),
        }
    }

    fn check(parsed: Parsed<RawNetwork>) -> Result<Self, FileError> {
        for node in &parsed.value.nodes {
            check_api(&node.api).map_err(|reason| parsed.complain("api", reason))?;
        }
        let raw = parsed.value;
        let nodes = raw
            .nodes
            .into_iter()
            .map(|node| NodeAddress { api: node.api.trim_end_matches('/').to_owned(), ..node })
            .collect();
        Ok(Self {
            name: raw.name,
            id: raw.id,
            key: raw.key,
            simulated: raw.simulated,
            custody: raw.custody,
            nodes,
            checkpoint: raw.checkpoint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        format!(
            "name = \"tea\"\nid = \"{}\"\nkey = \"{}\"\nsimulated = true\ncustody = \"development\"\n\n[[nodes]]\nid = \"{}\"\napi = \"http://127.0.0.1:4000/\"\n",
            "11".repeat(32),
            "22".repeat(96),
            NodeId::from_slice(&[3; 32]).unwrap(),
        )
    }

    fn parse(text: &str) -> Result<NetworkFile, String> {
        NetworkFile::parse(Path::new("network.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_network_file_is_read() {
        let network = parse(&text()).unwrap();
        assert_eq!(network.id, NetworkId([0x11; 32]));
        assert!(network.simulated);
        assert_eq!(network.custody, CustodyMode::Development);
        assert_eq!(network.nodes[0].api, "http://127.0.0.1:4000");
    }

    #[test]
    fn simulated_must_be_said() {
        let network = parse(&text().replace("simulated = true\n", "")).unwrap();
        assert!(!network.simulated);
    }

    #[test]
    fn no_change_of_one_letter_makes_the_reader_panic() {
        for at in 0..text().len() {
            for letter in ["", "\"", "\n", "=", "[", "9", "\0", "\u{e4}"] {
                let mut other = text();
                other.replace_range(at..=at, letter);
                let _ = parse(&other);
            }
        }
    }

    #[test]
    fn complaints_name_the_line() {
        let cases = [
            (text().replace("simulated", "simulatd"), "network.toml, line 4: unknown field `simulatd`"),
            (text().replace(&"11".repeat(32), "11"), "network.toml, line 2: "),
            (text().replace(&"22".repeat(96), "zz"), "network.toml, line 3: "),
            (
                text().replace("http://127.0.0.1:4000/", "127.0.0.1:4000"),
                "network.toml, line 9: '127.0.0.1:4000' is not an address",
            ),
        ];
        for (text, expected) in cases {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(expected), "{error:?} is not {expected:?}");
        }
    }
}

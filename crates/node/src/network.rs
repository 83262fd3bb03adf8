//! Makes development networks: keys, software TPMs, genesis, and one folder per node, all on this machine.
//!
//! This machine deals every key, so whoever can read the folder can run the whole network. That is what development
//! means; each listing and proof of such a network says `simulated` and `custody: development`.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpListener},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use attest::{
    Attester, AttesterError, SealError,
    release::{ReleaseError, ReleaseFile, ReleaseKey},
    seal_secret,
    simulated::{Authority, Device, SimulatedError},
    tpm::{PCR_LAUNCHER, TpmError},
};
use custody::{LocalSealError, NodeIdentity};
use model::{
    AccountId, Allocation, AppraisalPolicy, Blob, Canonical, CustodyMode, Digest, FeeSchedule, Genesis, Limits,
    NetworkId, NetworkLimits, NodeId, TrustAnchors, Validator,
};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::config::{Layout, RawConfig, RawListen, RawPeer, RawStorage};

/// Credits each node starts with: it pays for transactions and for being appraised.
const NODE_CREDITS: u64 = 1_000_000_000;
/// Credits that `account top-up` can draw in all.
const FAUCET_CREDITS: u64 = 1_000_000_000_000;

/// What a network shall be like.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// How many nodes; every one validates, appraises, holds shares and executes.
    pub nodes: usize,
    /// A name for people.
    pub name: String,
    /// The binary its nodes run; approved as the first release.
    pub binary: PathBuf,
    /// How long a verdict holds.
    pub verdict: Duration,
    /// Added to a task's declared run time for keys, fetching and publishing.
    pub overhead: Duration,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            nodes: 4,
            name: "development".into(),
            binary: std::env::current_exe().unwrap_or_default(),
            verdict: Duration::from_secs(600),
            overhead: Duration::from_secs(30),
        }
    }
}

/// A network that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Created {
    /// Its id.
    pub network: NetworkId,
    /// The file that clients need.
    pub file: PathBuf,
    /// The configuration of each node.
    pub nodes: Vec<PathBuf>,
    /// The approved binary.
    pub binary: Digest,
    /// What must not be forgotten about this network, for people.
    pub notice: String,
}

/// Why a network was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The folder holds something already.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// Too few or too many.
    #[error("a network needs 4 to 16 nodes, not {0}")]
    Nodes(usize),
    /// A file could not be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The software TPM cannot be made.
    #[error("cannot make a software TPM")]
    Simulated(#[from] SimulatedError),
    /// The software TPM does not do its work.
    #[error("the software TPM fails")]
    Tpm(#[from] TpmError),
    /// It does not attest.
    #[error("the software TPM has no endorsement")]
    Attester(#[from] AttesterError),
    /// It does not seal.
    #[error("the software TPM does not seal a node's identity")]
    Seal(#[from] SealError),
    /// The release key or a release.
    #[error("the release key cannot be used")]
    Release(#[from] ReleaseError),
    /// A node's files cannot be encrypted.
    #[error("a node's share of the network key cannot be encrypted")]
    Share(#[from] LocalSealError),
    /// The network key cannot be dealt.
    #[error("the network key cannot be dealt")]
    Deal(#[from] consensus::DealError),
    /// No randomness or no ports: the machine's fault.
    #[error("this machine cannot provide {what}")]
    Machine {
        /// What is missing.
        what: &'static str,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The folder was not made by `network create`.
    #[error("{0} holds no release key of a development network")]
    NoReleaseKey(PathBuf),
}

impl CreateError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotEmpty(_) => "name a new folder, or remove this one if the network in it is no longer wanted",
            Self::Nodes(_) => "--nodes 4 is the smallest network that survives the loss of one node",
            Self::File { .. } => "check that the folder exists and is yours",
            Self::Simulated(_) | Self::Tpm(_) | Self::Attester(_) | Self::Seal(_) => {
                "software TPMs need swtpm and swtpm_setup: apt-get install swtpm swtpm-tools"
            }
            Self::Machine { .. } | Self::Share(_) | Self::Deal(_) => "close other programs and try again",
            Self::Release(_) => "is release.key in this folder, and yours?",
            Self::NoReleaseKey(_) => "name the folder given to `samovar network create`",
        }
    }
}

/// Makes a network of nodes on this machine in `dir`, which must be new or empty.
///
/// # Errors
/// [`CreateError`]; what was written so far stays, for looking at.
pub fn create(dir: &Path, options: &CreateOptions) -> Result<Created, CreateError> {
    if !(4..=16).contains(&options.nodes) {
        return Err(CreateError::Nodes(options.nodes));
    }
    let dir = &fresh_folder(dir)?;
    let release_key = ReleaseKey::generate()?;
    release_key.save(&dir.join("release.key"))?;
    folder(&dir.join("releases"))?;
    let authority = Authority::create(&dir.join("authority"))?;

    let nodes = make_nodes(dir, options.nodes, &authority, &release_key)?;
    let ids: Vec<NodeId> = nodes.iter().map(|node| node.identity.node_id()).collect();
    let dealing = consensus::deal(&ids)?;
    let genesis = genesis(options, &nodes, authority.root()?, &release_key, &dealing);
    for (id, share) in &dealing.shares {
        let node = nodes.iter().find(|node| node.identity.node_id() == *id);
        let node = node.expect("shares are dealt to exactly these ids");
        write_secret(&node.layout.share(), &node.identity.seal_local(SHARE_PURPOSE, share)?)?;
    }
    write(&dir.join("genesis.cbor"), &genesis.to_bytes())?;
    let binary = approve(dir, &options.binary)?;

    let addresses = pick_addresses(nodes.len())?;
    let files = (0..nodes.len()).map(|node| write_config(&nodes, &addresses, node)).collect::<Result<_, _>>()?;
    let file = write_network_file(dir, &genesis, &nodes, &addresses)?;
    Ok(Created { network: genesis.network_id(), file, nodes: files, binary, notice: NOTICE.to_owned() })
}

/// Purpose under which a node's share of the network key is encrypted.
pub(crate) const SHARE_PURPOSE: &str = "consensus-share";

const NOTICE: &str = "This machine has dealt every key of this network, and its TPMs are software: \
    it is for development. Listings and proofs say `simulated` and `custody: development`.";

/// Approves a binary: its nodes may run it from now on, with everything they have sealed.
///
/// # Errors
/// [`CreateError`].
pub fn approve(dir: &Path, binary: &Path) -> Result<Digest, CreateError> {
    let key_file = dir.join("release.key");
    if !key_file.exists() {
        return Err(CreateError::NoReleaseKey(dir.to_owned()));
    }
    let key = ReleaseKey::load(&key_file)?;
    let file = fs::File::open(binary).map_err(|cause| CreateError::File { path: binary.to_owned(), cause })?;
    let digest =
        attest::launcher::measure(&file).map_err(|cause| CreateError::File { path: binary.to_owned(), cause })?;
    let releases = dir.join("releases");
    let counter = next_counter(&releases)?;
    key.release(digest, counter).save(&releases)?;
    Ok(digest)
}

/// The counter of the next release: one above the highest there is.
fn next_counter(releases: &Path) -> Result<u64, CreateError> {
    let failed = |cause| CreateError::File { path: releases.to_owned(), cause };
    let mut highest = 0;
    for entry in fs::read_dir(releases).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let named = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<Digest>().ok());
        let Some(binary) = named else { continue };
        if let Some(release) = ReleaseFile::load(releases, &binary)? {
            highest = highest.max(release.statement.counter);
        }
    }
    Ok(highest + 1)
}

/// A node while its network is made.
struct Made {
    layout: Layout,
    identity: NodeIdentity,
    endorsement: Digest,
}

/// Software TPMs take about a second each to make, so all are made at once.
fn make_nodes(
    dir: &Path,
    count: usize,
    authority: &Authority,
    release_key: &ReleaseKey,
) -> Result<Vec<Made>, CreateError> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|node| scope.spawn(move || make_node(&dir.join(format!("node-{node}")), authority, release_key)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// One node: a folder, a TPM with an endorsement certificate, and an identity that only approved releases can unseal.
fn make_node(dir: &Path, authority: &Authority, release_key: &ReleaseKey) -> Result<Made, CreateError> {
    let layout = Layout::new(folder(dir)?);
    authority.manufacture(&layout.tpm(), &dir.file_name().unwrap_or_default().to_string_lossy())?;
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut())
        .map_err(|cause| CreateError::Machine { what: "randomness", cause: std::io::Error::other(cause) })?;

    let device = Device::start(&layout.tpm())?;
    let intermediates = device.intermediates()?;
    let mut attester = Attester::open(device.into_tpm()?, intermediates)?;
    let endorsement = attester.endorsement();
    let sealed = seal_secret(attester.tpm(), &seed, &release_key.public())?;
    write_secret(&layout.identity(), &sealed.encode())?;
    attester.tpm().shutdown()?;
    Ok(Made { layout, identity: NodeIdentity::from_seed(&seed), endorsement })
}

/// Development values: cheap, patient, and small enough for one machine.
fn genesis(
    options: &CreateOptions,
    nodes: &[Made],
    anchor: Blob,
    release_key: &ReleaseKey,
    dealing: &consensus::Dealing,
) -> Genesis {
    let verdict_ms = options.verdict.as_millis() as u64;
    let mut validators: Vec<Validator> = nodes.iter().enumerate().map(validator).collect();
    validators.sort_by_key(|validator| validator.node);
    let mut allocations: Vec<Allocation> = validators
        .iter()
        .map(|validator| Allocation { account: validator.node, amount: NODE_CREDITS })
        .chain([Allocation { account: AccountId::FAUCET, amount: FAUCET_CREDITS }])
        .collect();
    allocations.sort_by_key(|allocation| allocation.account);
    Genesis {
        version: Genesis::VERSION,
        name: options.name.chars().take(64).collect(),
        created_ms: crate::progress::unix_ms(),
        network_key: dealing.network_key,
        sharing: dealing.sharing.clone(),
        validators,
        trust_anchors: TrustAnchors { hardware: Vec::new(), simulated: vec![anchor] },
        appraisal: AppraisalPolicy {
            release_key: release_key.public().to_bytes(),
            release_counter_min: 1,
            pcrs: vec![PCR_LAUNCHER],
            verdict_ms,
            window_ms: (verdict_ms / 4).max(1),
            appraisers: AppraisalPolicy::appraisers_for(nodes.len()) as u32,
            evidence_age_ms_max: 30_000,
        },
        custody: CustodyMode::Development,
        fees: FeeSchedule {
            transaction: 1,
            transaction_kib: 1,
            appraisal: 1,
            executor: 5,
            executor_second: 1,
            executor_64mib: 1,
            custodians: 3,
            storage: 1,
            validators: 4,
        },
        limits: NetworkLimits {
            program_bytes: 80 << 20,
            task: Limits { run_ms: 600_000, memory_bytes: 4 << 30, output_bytes: 256 << 20 },
            slots_per_node: 2,
            copies: 2,
            storage_ms: 30 * 24 * 3_600_000,
            overhead_ms: options.overhead.as_millis() as u64,
        },
        allocations,
        top_up_max: 1_000_000,
    }
}

fn validator((number, made): (usize, &Made)) -> Validator {
    Validator {
        node: made.identity.node_id(),
        operator: format!("operator-{number}"),
        region: "loopback".into(),
        endorsement: made.endorsement,
    }
}

/// Where one node listens.
struct Addresses {
    api: SocketAddr,
    consensus: SocketAddr,
    content: SocketAddr,
}

/// Free ports of the loopback device: all are held until the last is known, so that none is given twice.
fn pick_addresses(nodes: usize) -> Result<Vec<Addresses>, CreateError> {
    let machine = |cause| CreateError::Machine { what: "free ports", cause };
    let listeners: Vec<TcpListener> =
        (0..3 * nodes).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>().map_err(machine)?;
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>().map_err(machine)?;
    Ok(addresses.chunks_exact(3).map(|of| Addresses { api: of[0], consensus: of[1], content: of[2] }).collect())
}

fn multiaddress(address: &SocketAddr) -> String {
    format!("/ip4/{}/tcp/{}", address.ip(), address.port())
}

fn write_config(nodes: &[Made], addresses: &[Addresses], node: usize) -> Result<PathBuf, CreateError> {
    let peer = |other: usize| RawPeer {
        node: nodes[other].identity.node_id(),
        consensus: addresses[other].consensus,
        content: multiaddress(&addresses[other].content),
    };
    let config = RawConfig {
        genesis: "../genesis.cbor".into(),
        data: ".".into(),
        releases: "../releases".into(),
        tpm: "simulated".into(),
        listen: RawListen {
            api: addresses[node].api,
            consensus: addresses[node].consensus,
            content: multiaddress(&addresses[node].content),
        },
        storage: RawStorage::default(),
        peers: (0..nodes.len()).filter(|other| *other != node).map(peer).collect(),
    };
    let path = nodes[node].layout.data().join("node.toml");
    write(&path, toml_text(&config).as_bytes())?;
    Ok(path)
}

/// What clients need to know of a network, and all they have to believe.
#[derive(Serialize)]
struct NetworkFile<'a> {
    name: &'a str,
    id: String,
    key: String,
    simulated: bool,
    custody: CustodyMode,
    nodes: Vec<NetworkNode>,
}

#[derive(Serialize)]
struct NetworkNode {
    id: NodeId,
    api: String,
}

fn write_network_file(
    dir: &Path,
    genesis: &Genesis,
    nodes: &[Made],
    addresses: &[Addresses],
) -> Result<PathBuf, CreateError> {
    let node = |(made, at): (&Made, &Addresses)| NetworkNode {
        id: made.identity.node_id(),
        api: format!("http://{}", at.api),
    };
    let file = NetworkFile {
        name: &genesis.name,
        id: genesis.network_id().to_string(),
        key: genesis.network_key.to_string(),
        simulated: genesis.trust_anchors.simulated(),
        custody: genesis.custody,
        nodes: nodes.iter().zip(addresses).map(node).collect(),
    };
    let path = dir.join("network.toml");
    write(&path, toml_text(&file).as_bytes())?;
    Ok(path)
}

fn toml_text<T: Serialize>(value: &T) -> String {
    toml::to_string(value).expect("only tables, lists, strings and numbers below 2^63")
}

/// Makes a folder that only its owner can read, or takes one that is empty.
fn fresh_folder(dir: &Path) -> Result<PathBuf, CreateError> {
    let holds_something = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if holds_something {
        return Err(CreateError::NotEmpty(dir.to_owned()));
    }
    folder(dir)
}

fn folder(dir: &Path) -> Result<PathBuf, CreateError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.and_then(|()| dir.canonicalize()).map_err(|cause| CreateError::File { path: dir.to_owned(), cause })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CreateError> {
    write_with_mode(path, bytes, 0o644)
}

fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), CreateError> {
    write_with_mode(path, bytes, 0o600)
}

fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CreateError> {
    let written = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    written().map_err(|cause| CreateError::File { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "mine").unwrap();
        let refused = create(folder.path(), &CreateOptions::default());
        assert!(matches!(refused, Err(CreateError::NotEmpty(_))), "{refused:?}");
    }

    #[test]
    fn three_nodes_do_not_survive_the_loss_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let refused = create(folder.path(), &CreateOptions { nodes: 3, ..CreateOptions::default() });
        assert!(matches!(refused, Err(CreateError::Nodes(3))), "{refused:?}");
    }

    #[test]
    fn approving_needs_the_release_key_of_a_development_network() {
        let folder = tempfile::tempdir().unwrap();
        let refused = approve(folder.path(), Path::new("/bin/true"));
        assert!(matches!(refused, Err(CreateError::NoReleaseKey(_))), "{refused:?}");
    }

    #[test]
    fn no_port_is_given_twice() {
        let addresses = pick_addresses(4).unwrap();
        let mut ports: Vec<u16> =
            addresses.iter().flat_map(|of| [of.api.port(), of.consensus.port(), of.content.port()]).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 12);
    }
}

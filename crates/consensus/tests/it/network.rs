//! Networks of validators on this machine, for tests and the benchmark.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use consensus::{Config, Consensus, Machine, Retention, Timing};
use ed25519_dalek::SigningKey;
use model::{
    AppraisalPolicy, Blob, Bytes96, Canonical as _, CustodyMode, Digest, FeeSchedule, Genesis, Limits, NetworkId,
    NetworkLimits, NodeId, TrustAnchors, Validator,
};
use zeroize::Zeroizing;

use crate::counter::Counter;

/// Everything needed to start, stop and start again the validators of one network.
pub struct Net {
    pub genesis: Genesis,
    pub retention: Retention,
    identities: Vec<[u8; 32]>,
    shares: Vec<Zeroizing<Vec<u8>>>,
    addresses: Vec<SocketAddr>,
    folder: PathBuf,
}

impl Net {
    /// Deals keys for `members` validators that keep their ledgers under `folder`.
    pub fn new(members: u8, folder: &Path) -> Self {
        let identities: Vec<[u8; 32]> = (0..members).map(|member| Digest::of(&[member]).0).collect();
        let nodes: Vec<_> = identities.iter().map(node).collect();
        let dealing = consensus::deal(&nodes).unwrap();
        let shares = nodes
            .iter()
            .map(|node| dealing.shares.iter().find(|(holder, _)| holder == node).unwrap().1.clone())
            .collect();
        Self {
            genesis: genesis(dealing.network_key, dealing.sharing, nodes),
            retention: Retention::default(),
            identities,
            shares,
            addresses: free_addresses(members),
            folder: folder.to_owned(),
        }
    }

    pub fn id(&self) -> NetworkId {
        self.genesis.network_id()
    }

    /// What a stranger knows.
    pub fn network(&self) -> finality::Network {
        finality::Network { id: self.id(), key: self.genesis.network_key }
    }

    /// Configuration of one validator.
    pub fn config(&self, member: usize) -> Config<'_> {
        Config {
            network: self.id(),
            genesis: &self.genesis,
            identity: Zeroizing::new(self.identities[member]),
            share: self.shares[member].clone(),
            storage: self.folder.join(format!("validator-{member}")),
            listen: self.addresses[member],
            peers: self.identities.iter().map(node).zip(self.addresses.iter().copied()).collect(),
            timing: Timing::default(),
            retention: self.retention,
        }
    }

    pub fn start(&self, member: usize) -> Consensus {
        self.start_with(member, Arc::new(Counter { network: self.id() }))
    }

    pub fn start_with(&self, member: usize, machine: Arc<dyn Machine>) -> Consensus {
        consensus::start(self.config(member), machine).unwrap()
    }

    pub fn start_all(&self) -> Vec<Consensus> {
        (0..self.identities.len()).map(|member| self.start(member)).collect()
    }

    /// Starts other processes where this network's files and keys are; see `restart`.
    pub fn save(&self) {
        let text: Vec<String> = self
            .identities
            .iter()
            .zip(&self.shares)
            .zip(&self.addresses)
            .map(|((identity, share), address)| format!("{} {} {address}", hex(identity), hex(share)))
            .collect();
        std::fs::write(self.folder.join("members"), text.join("\n")).unwrap();
        std::fs::write(self.folder.join("genesis"), self.genesis.to_bytes()).unwrap();
    }

    /// What [`Net::save`] saved.
    pub fn load(folder: &Path) -> Self {
        let genesis = std::fs::read(folder.join("genesis")).unwrap();
        let text = std::fs::read_to_string(folder.join("members")).unwrap();
        let (mut identities, mut shares, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for line in text.lines() {
            let parts: Vec<_> = line.split(' ').collect();
            identities.push(unhex(parts[0]).try_into().unwrap());
            shares.push(Zeroizing::new(unhex(parts[1])));
            addresses.push(parts[2].parse().unwrap());
        }
        let genesis = Genesis::from_bytes(&genesis, Genesis::BYTES_MAX).unwrap();
        Self { genesis, retention: Retention::default(), identities, shares, addresses, folder: folder.to_owned() }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub fn node(identity: &[u8; 32]) -> NodeId {
    NodeId::from_slice(&SigningKey::from_bytes(identity).verifying_key().to_bytes()).unwrap()
}

/// Addresses nobody listens on now.
fn free_addresses(count: u8) -> Vec<SocketAddr> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

pub fn genesis(network_key: Bytes96, sharing: Blob, mut nodes: Vec<NodeId>) -> Genesis {
    nodes.sort();
    let limits = Limits { run_ms: 1_000, memory_bytes: 1 << 20, output_bytes: 1 << 10 };
    Genesis {
        version: 1,
        name: "test".to_owned(),
        created_ms: 0,
        network_key,
        sharing,
        validators: nodes
            .into_iter()
            .map(|node| Validator {
                node,
                operator: "operator".to_owned(),
                region: "region".to_owned(),
                endorsement: Digest::of(&node.0),
            })
            .collect(),
        trust_anchors: TrustAnchors { hardware: Vec::new(), simulated: Vec::new() },
        appraisal: AppraisalPolicy {
            release_key: Blob::default(),
            release_counter_min: 0,
            pcrs: vec![14],
            verdict_ms: 60_000,
            window_ms: 30_000,
            appraisers: 3,
            evidence_age_ms_max: 30_000,
        },
        custody: CustodyMode::Development,
        fees: FeeSchedule {
            transaction: 0,
            transaction_kib: 0,
            appraisal: 0,
            executor: 0,
            executor_second: 0,
            executor_64mib: 0,
            custodians: 0,
            storage: 0,
            validators: 0,
        },
        limits: NetworkLimits {
            task: limits,
            program_bytes: 1,
            slots_per_node: 1,
            copies: 2,
            storage_ms: 1,
            overhead_ms: 1,
        },
        allocations: Vec::new(),
        top_up_max: 0,
    }
}

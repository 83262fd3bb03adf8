//! A committee in memory that certifies what it is told, so that tests of other crates work with real certificates.
//!
//! ```
//! use finality::testing::Committee;
//! use model::{Digest, Fact, NetworkId, Releases, TaskId};
//!
//! let committee = Committee::deal(1);                        // the key first: the genesis contains it
//! let id = NetworkId(Digest::of(b"a genesis with committee.key()").0);
//! let mut chain = committee.chain(id);
//! let fact = Fact::Releases(Box::new(Releases { task: TaskId([1; 32]), releases: vec![] }));
//! let indices = chain.block(1_790_000_000_000, vec![fact]);  // one block with one record
//! let proven = chain.prove(&indices);                        // at the newest head
//! let (head, records) = chain.network().check_proven(&proven).unwrap();
//! assert_eq!((head.height(), records[0].index()), (1, 0));
//! ```
//!
//! There is nothing secret here: the shares follow from the seed.

use commonware_codec::Encode as _;
use commonware_consensus::{
    simplex::{
        scheme::bls12381_threshold::vrf::Seedable as _,
        types::{Finalize, Proposal},
    },
    types::View,
};
use commonware_cryptography::{
    Signer as _,
    bls12381::{
        dkg::feldman_desmedt::deal,
        primitives::{
            group::Share,
            sharing::{Mode, Sharing},
            variant::MinSig,
        },
    },
    ed25519,
};
use commonware_parallel::Sequential;
use commonware_utils::{N3f1, TryCollect as _, non_empty, ordered::Set};
use model::{
    Blob, Bytes48, Bytes96, Canonical as _, Digest, Fact, NetworkId, NodeId, Record, Round, Seed,
    api::{CertifiedHead, Extension, IndexedRecord, ProvenExtension, ProvenRecords},
    log::Tree,
};
use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    Header, Network, StateOps,
    engine::{self, Finalization, Scheme},
};

const MEMBERS: u64 = 4;

/// Four members with one threshold key; all of them sign whatever they are asked to.
#[derive(Clone)]
pub struct Committee {
    members: Set<ed25519::PublicKey>,
    sharing: Sharing<MinSig>,
    shares: Vec<Share>,
}

impl Committee {
    /// Deals a key. The same seed always deals the same key.
    pub fn deal(seed: u64) -> Self {
        let members: Set<_> = (0..MEMBERS)
            .map(|index| ed25519::PrivateKey::from_seed(seed.wrapping_mul(MEMBERS) + index).public_key())
            .try_collect()
            .expect("distinct seeds make distinct keys");
        let mut randomness = StdRng::seed_from_u64(seed);
        let (output, shares) = deal::<MinSig, _, N3f1>(&mut randomness, Mode::NonZeroCounter, members.clone())
            .expect("four distinct members are enough for a dealing");
        Self { sharing: output.public().clone(), shares: shares.values().to_vec(), members }
    }

    /// The network key, to be put into a genesis.
    pub fn key(&self) -> Bytes96 {
        Bytes96::from_slice(&self.sharing.public().encode()).expect("a G2 point has 96 bytes")
    }

    /// Node ids of the members, ascending.
    pub fn members(&self) -> Vec<NodeId> {
        self.members.iter().map(|key| NodeId::from_slice(key).expect("an Ed25519 key has 32 bytes")).collect()
    }

    /// Starts an empty ledger of the network `id`.
    pub fn chain(&self, id: NetworkId) -> Chain {
        Chain { committee: self.clone(), id, headers: Vec::new(), records: Vec::new(), tree: Tree::default() }
    }

    /// Certifies a header, whatever it says, in the view it names.
    pub fn certify(&self, id: NetworkId, header: &Header) -> CertifiedHead {
        let certificate = self.finalize(id, header.round, header.parent_view, &header.digest());
        CertifiedHead { certificate: Blob(certificate.encode().to_vec()), header: Blob(header.to_bytes()) }
    }

    /// The beacon of a round.
    pub fn seed(&self, id: NetworkId, round: Round) -> Seed {
        let signature = self.finalize(id, round, 0, &Digest::of(b"")).seed().signature.encode();
        Seed { round, signature: Bytes48::from_slice(&signature).expect("a G1 point has 48 bytes") }
    }

    fn finalize(&self, id: NetworkId, round: Round, parent_view: u64, payload: &Digest) -> Finalization {
        let namespace = engine::namespace(&id);
        let proposal = Proposal::new(engine::round(&round), View::new(parent_view), engine::digest(payload));
        let signers: Vec<Scheme> = self
            .shares
            .iter()
            .map(|share| {
                Scheme::signer(&namespace, self.members.clone(), self.sharing.clone(), share.clone())
                    .expect("the share was dealt for this polynomial")
            })
            .collect();
        let votes: Vec<_> = signers.iter().filter_map(|signer| Finalize::sign(signer, proposal.clone())).collect();
        Finalization::from_finalizes(&signers[0], non_empty![@votes.iter()], &Sequential)
            .expect("all four members voted")
    }
}

/// A ledger without an engine: blocks that contain records and nothing else.
#[derive(Clone)]
pub struct Chain {
    committee: Committee,
    id: NetworkId,
    headers: Vec<Header>,
    records: Vec<Vec<u8>>,
    tree: Tree,
}

impl Chain {
    /// What verifiers need to know.
    pub fn network(&self) -> Network {
        Network { id: self.id, key: self.committee.key() }
    }

    /// Height of the newest block; 0 if there is none.
    pub fn height(&self) -> u64 {
        self.headers.len() as u64
    }

    /// Adds a block with one record per fact; returns the records' indices. `time_ms` is the block's time.
    pub fn block(&mut self, time_ms: u64, facts: Vec<Fact>) -> Vec<u64> {
        let (network, height) = (self.id, self.height() + 1);
        self.raw_block(
            time_ms,
            facts.into_iter().map(|fact| Record { network, height, time_ms, fact }.to_bytes()).collect(),
        )
    }

    /// Adds a block whose log entries are these bytes, records or not.
    pub fn raw_block(&mut self, time_ms: u64, entries: Vec<Vec<u8>>) -> Vec<u64> {
        let first = self.tree.size();
        for entry in entries {
            self.tree.append(&Digest::of(&entry));
            self.records.push(entry);
        }
        let header = self.next_header(time_ms);
        self.headers.push(header);
        (first..self.tree.size()).collect()
    }

    /// The beacon of the round that block `height` was proposed in.
    pub fn seed(&self, height: u64) -> Seed {
        self.committee.seed(self.id, Round { epoch: 0, view: height })
    }

    /// The block at `height`, from 1, certified.
    pub fn head_at(&self, height: u64) -> CertifiedHead {
        self.committee.certify(self.id, &self.headers[height as usize - 1])
    }

    /// The newest block, certified.
    pub fn head(&self) -> CertifiedHead {
        self.head_at(self.height())
    }

    /// Proves records at the newest block. `indices` ascending.
    pub fn prove(&self, indices: &[u64]) -> ProvenRecords {
        self.prove_at(self.height(), indices)
    }

    /// Proves records at an earlier block.
    pub fn prove_at(&self, height: u64, indices: &[u64]) -> ProvenRecords {
        let size = self.headers[height as usize - 1].log_size;
        let digests = match indices {
            [] => Vec::new(),
            indices => self.tree.prove_many(size, indices).expect("ascending indices inside the log"),
        };
        let entry = |index: &u64| IndexedRecord { index: *index, record: Blob(self.records[*index as usize].clone()) };
        ProvenRecords { head: self.head_at(height), records: indices.iter().map(entry).collect(), digests }
    }

    /// Proves that the newest log extends the one of `old_size` records.
    pub fn prove_extension(&self, old_size: u64) -> ProvenExtension {
        let digests = self.tree.prove_consistency(old_size, self.tree.size()).expect("the log was never longer");
        ProvenExtension { head: self.head(), digests }
    }

    /// Proves that the log of `to` records extends the log of `from` records.
    pub fn prove_growth(&self, from: u64, to: u64) -> Extension {
        Extension { from, to, digests: self.tree.prove_consistency(from, to).expect("the log has that many") }
    }

    fn next_header(&self, time_ms: u64) -> Header {
        let height = self.height() + 1;
        let parent_view = height - 1;
        Header {
            round: Round { epoch: 0, view: height },
            leader: self.committee.members()[0],
            parent_view,
            parent: self.headers.last().map_or(Digest::of(b"genesis"), Header::digest),
            height,
            time_ms,
            state_root: Digest::of(b"no state here"),
            state_ops: StateOps { root: Digest::of(b"no state here"), start: 0, end: 1 },
            transactions: Digest::of(b""),
            log_size: self.tree.size(),
            log_root: self.tree.root(self.tree.size()).expect("the size it has"),
            parent_seed: (parent_view != 0).then(|| self.seed(parent_view).signature),
            payload: None,
        }
    }
}

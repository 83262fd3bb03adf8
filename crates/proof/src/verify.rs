//! The verification, link by link.

use finality::{FinalityError, Head};
use model::{
    Bytes96, Canonical, Digest, Genesis, NetworkId, Outcome, Payment, Receipt, ResultSeal, Task, TaskId,
    api::ProvenRecords,
};

use crate::{Checklist, Link, Proof, ProofError, checklist, error::same, facts::Facts, node, objects, run};

/// What a verifier knows beforehand: the network file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Digest of the genesis.
    pub id: NetworkId,
    /// The key under which all certificates verify.
    pub key: Bytes96,
    /// Whether software TPMs are acceptable.
    pub simulated: bool,
    /// A head that somebody the verifier relies on has seen.
    pub checkpoint: Option<Checkpoint>,
}

/// A head that is known to be of the one true history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its height.
    pub height: u64,
    /// Its ledger time, milliseconds.
    pub time_ms: u64,
    /// Records in its log.
    pub log_size: u64,
    /// Root of its log.
    pub log_root: Digest,
}

/// What may be given beside a bundle.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras<'a> {
    /// IPFS blocks, for example the event log behind the evidence.
    pub blocks: &'a [Vec<u8>],
    /// Shows that of checkpoint and proven head the later log extends the earlier one ([`model::log::check_consistency`]).
    pub consistency: Option<&'a [Digest]>,
}

/// A proof that holds. Only [`verify`] makes one.
pub struct Verified {
    pub(crate) network: NetworkId,
    pub(crate) genesis: Genesis,
    pub(crate) head: Head,
    pub(crate) facts: Facts,
    pub(crate) evidence_judged: bool,
    pub(crate) checkpoint: CheckpointUse,
}

/// What the checkpoint in the network file did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointUse {
    None,
    Agrees,
    Linked,
}

/// Verifies a bundle against a network file, and nothing else.
///
/// # Errors
/// [`ProofError`]; [`ProofError::link`] says which link of the chain broke.
pub fn verify(bundle: &[u8], network: &Network) -> Result<Verified, ProofError> {
    verify_with(bundle, network, &Extras::default())
}

/// The same, with blocks and a consistency proof that are not in the bundle.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(bundle: &[u8], network: &Network, extras: &Extras<'_>) -> Result<Verified, ProofError> {
    let proof = Proof::decode(bundle).map_err(|cause| ProofError::Encoding { link: Link::Bundle, cause })?;
    if proof.version != Proof::VERSION {
        return Err(ProofError::Version(proof.version));
    }
    let genesis = check_genesis(&proof, network)?;
    let found = proof.proven.records.len();
    if found > Proof::RECORDS_MAX {
        return Err(ProofError::Records { what: "records", expected: Proof::RECORDS_MAX, found });
    }
    check_log(&proof.proven)?;
    let committee = finality::Network { id: network.id, key: network.key };
    let (head, records) = committee.check_proven(&proof.proven)?;
    let checkpoint = check_checkpoint(&head, network.checkpoint.as_ref(), extras.consistency)?;

    let facts = Facts::sort(records)?;
    let evidence = node::named_evidence(&proof, extras, &facts)?;
    objects::check(&genesis, &network.id, &facts)?;
    node::check_draw(&genesis, &committee, &facts)?;
    node::check_verdict(&genesis, &committee, &facts)?;
    let evidence_judged = node::check_evidence(&genesis, &network.id, &evidence, &facts)?;
    run::check_receipt(&network.id, &facts)?;
    run::check_releases(&network.id, &facts)?;
    run::check_result(&genesis, &network.id, &facts)?;
    run::check_payments(&genesis, &facts)?;
    Ok(Verified { network: network.id, genesis, head, facts, evidence_judged, checkpoint })
}

/// The genesis must be the one whose digest is the network id, and name the key that the network file names.
fn check_genesis(proof: &Proof, network: &Network) -> Result<Genesis, ProofError> {
    if Digest::of(&proof.genesis.0).0 != network.id.0 {
        return Err(ProofError::OtherNetwork);
    }
    let genesis = Genesis::from_bytes(&proof.genesis.0, Genesis::BYTES_MAX)
        .map_err(|cause| ProofError::Encoding { link: Link::Genesis, cause })?;
    same(genesis.version == Genesis::VERSION, Link::Genesis, "the version of the genesis", "one that is known")?;
    if genesis.network_key != network.key {
        return Err(ProofError::OtherNetwork);
    }
    if genesis.trust_anchors.simulated() && !network.simulated {
        return Err(ProofError::Simulated);
    }
    Ok(genesis)
}

/// The records against the header beside them, whoever certified it. The certificate is checked next and costs a hundred
/// times as much, so whatever was changed in a record is refused cheaply.
fn check_log(proven: &ProvenRecords) -> Result<(), ProofError> {
    let header = finality::Header::from_bytes(&proven.head.header.0).map_err(FinalityError::Header)?;
    let leaves: Vec<_> = proven.records.iter().map(|entry| (entry.index, Digest::of(&entry.record.0))).collect();
    let in_log = model::log::check_many(&header.log_root, header.log_size, &leaves, &proven.digests);
    if in_log { Ok(()) } else { Err(FinalityError::Log.into()) }
}

/// The head must not contradict the checkpoint: heights, times and sizes rise together, and where a consistency proof is
/// given, one log extends the other.
fn check_checkpoint(
    head: &Head,
    checkpoint: Option<&Checkpoint>,
    consistency: Option<&[Digest]>,
) -> Result<CheckpointUse, ProofError> {
    let Some(pinned) = checkpoint else { return Ok(CheckpointUse::None) };
    let order = head.height().cmp(&pinned.height);
    let sizes = head.log_size().cmp(&pinned.log_size);
    let rising = head.time_ms().cmp(&pinned.time_ms) == order && (sizes == order || sizes.is_eq());
    let same_log = !sizes.is_eq() || head.log_root() == pinned.log_root;
    if !(rising && same_log) {
        return Err(ProofError::Checkpoint);
    }
    if sizes.is_eq() {
        return Ok(CheckpointUse::Linked);
    }
    let Some(digests) = consistency else { return Ok(CheckpointUse::Agrees) };
    let ours = (head.log_size(), head.log_root());
    let theirs = (pinned.log_size, pinned.log_root);
    let (old, new) = if sizes.is_lt() { (ours, theirs) } else { (theirs, ours) };
    let grew = model::log::check_consistency(old.0, &old.1, new.0, &new.1, digests);
    if grew { Ok(CheckpointUse::Linked) } else { Err(ProofError::Checkpoint) }
}

impl Verified {
    /// Which task it is about.
    pub fn task_id(&self) -> TaskId {
        self.facts.assignment.get().task
    }

    /// What was asked for.
    pub fn task(&self) -> &Task {
        self.facts.task.get()
    }

    /// The executor's claim, which the whole chain supports.
    pub fn receipt(&self) -> &Receipt {
        self.facts.receipt.unverified()
    }

    /// The sealed result; `None` if the task failed.
    pub fn result(&self) -> Option<&ResultSeal> {
        match &self.receipt().outcome {
            Outcome::Done(result) => Some(result),
            Outcome::Failed(_) => None,
        }
    }

    /// Who was paid.
    pub fn payments(&self) -> &[Payment] {
        &self.facts.settlement.get().payments
    }

    /// The certified head that all records were proven against.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The network's rules.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Height and ledger time of the block that finalized the receipt.
    pub fn finalized(&self) -> (u64, u64) {
        (self.facts.settlement.height(), self.facts.settlement.time_ms())
    }

    /// Whether anything in it may rest on software TPMs: the executor's is one, or the network would take one of a
    /// custodian or storer, whose verdicts are not in the proof.
    pub fn simulated(&self) -> bool {
        self.facts.verdict.get().result.simulated || self.genesis.trust_anchors.simulated()
    }

    /// Whether root on the executor's machine could have measured what it liked.
    pub fn self_measured(&self) -> bool {
        self.facts.verdict.get().result.self_measured
    }

    /// Whether the head and the checkpoint of the network file were shown to be of one history; `None` if none is pinned.
    pub fn linked_with_checkpoint(&self) -> Option<bool> {
        match self.checkpoint {
            CheckpointUse::None => None,
            CheckpointUse::Agrees => Some(false),
            CheckpointUse::Linked => Some(true),
        }
    }

    /// What was checked, in sentences for people.
    pub fn checklist(&self) -> Checklist {
        checklist::of(self)
    }
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified").field("task", &self.task_id()).finish_non_exhaustive()
    }
}

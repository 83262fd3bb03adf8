//! Appraisal: is this evidence what the network's policy asks for?

use model::{
    AppraisalPolicy, AttestationResult, BlockRef, Canonical, ContentId, Digest, EventLog, Evidence, Genesis, NetworkId,
    NodeId, Registration, Role, TrustAnchors, Validator,
};

/// Evidence that passed. Only [`appraise`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraised {
    evidence: Evidence,
    evidence_id: ContentId,
    result: AttestationResult,
    clock: ClockSeen,
}

impl Appraised {
    /// The keys the evidence vouches for.
    pub fn registration(&self) -> &Registration {
        &self.evidence.registration
    }

    /// What was found.
    pub fn result(&self) -> AttestationResult {
        self.result
    }

    /// The block that holds the evidence.
    pub fn evidence_id(&self) -> ContentId {
        self.evidence_id
    }

    /// The evidence itself.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The TPM's counters at the time of the quote; remember them to notice older evidence.
    pub fn clock(&self) -> ClockSeen {
        self.clock
    }
}

/// A TPM's own counters, as one of its quotes says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockSeen {
    /// How often the TPM was reset. Never falls.
    pub resets: u32,
    /// How often it was restarted since. Never falls within one reset.
    pub restarts: u32,
    /// Milliseconds it has run. Never falls within one reset; may fall across a reset that was not orderly.
    pub clock_ms: u64,
}

/// What evidence must show.
#[derive(Clone, Copy, Debug)]
pub struct Expectation<'a> {
    /// On which network.
    pub network: NetworkId,
    /// The network's rules.
    pub policy: &'a AppraisalPolicy,
    /// Who may vouch for a TPM.
    pub anchors: &'a TrustAnchors,
    /// What the committee has approved for this node.
    pub approved: &'a Validator,
    /// In which role the subject is to be appraised.
    pub role: Role,
    /// In which window.
    pub window: u64,
    /// The finalized block at the height that the evidence names, looked up by whoever appraises.
    pub block: BlockRef,
    /// Ledger time, milliseconds. Judges the age of the evidence and the validity of certificates.
    pub now_ms: u64,
    /// What an earlier quote of the same TPM said, if there was one.
    pub last_seen: Option<ClockSeen>,
}

impl<'a> Expectation<'a> {
    /// What `genesis` expects of `node` in `window`; `None` if the committee has not approved such a node.
    pub fn of_genesis(
        genesis: &'a Genesis,
        network: NetworkId,
        node: &NodeId,
        window: u64,
        block: BlockRef,
        now_ms: u64,
    ) -> Option<Self> {
        Some(Self {
            network,
            policy: &genesis.appraisal,
            anchors: &genesis.trust_anchors,
            approved: genesis.validator(node)?,
            role: Role::Executor,
            window,
            block,
            now_ms,
            last_seen: None,
        })
    }
}

/// Why evidence does not pass. Each variant says whose fault that is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppraiseError {}

/// What a quote's extraData must be: binds the quote to a network, a registration, a role, a window and a block.
pub fn binding(network: &NetworkId, registration: &Digest, role: Role, window: u64, block: &BlockRef) -> [u8; 32] {
    let _ = (network, registration, role, window, block);
    todo!()
}

/// Appraises evidence and the event log behind it. Pure.
///
/// # Errors
/// [`AppraiseError`].
pub fn appraise(
    evidence: &Evidence,
    log: &EventLog,
    expectation: &Expectation<'_>,
) -> Result<Appraised, AppraiseError> {
    let _ = (evidence.digest(), log, expectation);
    todo!()
}

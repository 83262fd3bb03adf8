//! Nodes: what they register, the evidence for it, and what appraisers say (RFC 9334).

use serde::{Deserialize, Serialize};

use crate::{AccountId, Blob, Bytes64, Canonical, ContentId, Digest, NodeId, Seed, Signable, Signed};

/// What a node says of itself. Believed only together with a [`Verdict`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Its signing key.
    pub node: NodeId,
    /// X-Wing public key (1,216 bytes) that shares are sealed to.
    pub sealing_key: Blob,
    /// Who runs it; must equal what the committee has approved.
    pub operator: String,
    /// Where it stands; must equal what the committee has approved.
    pub region: String,
    /// SHA-256 of its endorsement certificate (DER).
    pub endorsement: Digest,
    /// Name of its TPM attestation key (TPM 2.0 part 1, 16: `nameAlg ‖ H(public area)`).
    pub attestation_key: Blob,
}

/// What a node asks to be appraised for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs tasks and holds shares.
    Executor,
}

/// A finalized block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockRef {
    /// Its height.
    pub height: u64,
    /// Its ledger time, milliseconds.
    pub time_ms: u64,
    /// SHA-256 of its header.
    pub digest: Digest,
}

/// Evidence for one verdict: made once, kept as an IPFS block so that anybody can judge it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The keys it vouches for.
    pub registration: Registration,
    /// In which role.
    pub role: Role,
    /// The appraisal window it is for.
    pub window: u64,
    /// Shows that it is fresh.
    pub block: BlockRef,
    /// The quote.
    pub tpm: TpmEvidence,
}

impl Evidence {
    /// Most bytes of evidence.
    pub const BYTES_MAX: usize = 64 << 10;
}

/// A TPM 2.0 quote and what is needed to check it. TPM structures are in the TPM's own encoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmEvidence {
    /// Endorsement certificate (DER), then intermediates towards the root, without the root.
    pub endorsement_chain: Vec<Blob>,
    /// TPMT_PUBLIC of the attestation key.
    pub attestation_key: Blob,
    /// TPMS_ATTEST. Its extraData is `attest::binding` over registration, role, window and block.
    pub quote: Blob,
    /// TPMT_SIGNATURE over the quote by the attestation key.
    pub signature: Blob,
    /// The registers the quote covers, ascending.
    pub pcrs: Vec<PcrValue>,
    /// The block that holds the [`EventLog`] behind those registers.
    pub log: ContentId,
}

/// One platform configuration register, SHA-256 bank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PcrValue {
    /// Which.
    pub index: u32,
    /// Its value.
    pub value: Digest,
}

/// What the launcher has extended into register 14 since the TPM was reset, oldest first. At most 64 entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventLog {
    /// One entry per start of the node.
    pub entries: Vec<LogEntry>,
}

/// One start of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEntry {
    /// SHA-256 of the binary that was started; this is what was extended.
    pub binary: Digest,
    /// Who vouches for that binary; `None` if nobody did when it was started. The start is measured all the same.
    pub release: Option<ReleaseStatement>,
}

/// The release key's word that a binary is an approved build of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseStatement {
    /// SHA-256 of the binary.
    pub binary: Digest,
    /// Rises with each release; a policy may refuse old ones.
    pub counter: u64,
    /// ECDSA P-256 (fixed 64 bytes r‖s) over SHA-256 of `"samovar/v1/release" ‖ binary ‖ u64 counter`.
    pub signature: Bytes64,
}

/// What appraisal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationResult {
    /// The TPM is software under a development root.
    pub simulated: bool,
    /// Nothing beneath the launcher was measured, so root on that machine could have extended what it liked.
    pub self_measured: bool,
    /// Counter of the release that runs.
    pub release_counter: u64,
}

/// One appraiser's word about one node in one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppraisalVote {
    /// Who was appraised.
    pub subject: NodeId,
    /// Digest of its [`Registration`].
    pub registration: Digest,
    /// The block that holds the [`Evidence`].
    pub evidence: ContentId,
    /// In which window.
    pub window: u64,
    /// What was found.
    pub result: AttestationResult,
    /// Who says so. It has seen the subject activate a credential for its endorsement key.
    pub appraiser: NodeId,
}

impl Signable for AppraisalVote {
    const PURPOSE: &'static str = "appraisal-vote";
    fn signer(&self) -> AccountId {
        self.appraiser
    }
}

/// The network's verdict about a node: an attestation result that two thirds of the drawn appraisers signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// About whom.
    pub node: NodeId,
    /// Digest of the [`Registration`] it vouches for.
    pub registration: Digest,
    /// The block that holds the [`Evidence`].
    pub evidence: ContentId,
    /// In which window.
    pub window: u64,
    /// What was found.
    pub result: AttestationResult,
    /// The window's seed, which draws the appraisers: so that anybody can draw them again.
    pub seed: Seed,
    /// Who was drawn, ascending.
    pub drawn: Vec<NodeId>,
    /// The agreeing votes, ascending by appraiser.
    pub votes: Vec<Signed<AppraisalVote>>,
    /// From this ledger time on it no longer holds.
    pub expires_ms: u64,
}

impl Evidence {
    /// The CID of the block that holds this evidence.
    pub fn block_id(&self) -> ContentId {
        self.content_id()
    }
}

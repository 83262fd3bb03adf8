//! Appraisal: is this evidence what the network's policy asks for?
//!
//! The checks run from cheap to dear, and nothing is parsed before its signature is checked: what the committee has
//! approved, freshness, endorsement, attestation key, signature, quote, event log.

use model::{
    AppraisalPolicy, AttestationResult, BlockRef, Canonical, ContentId, Digest, EventLog, Evidence, Genesis, NetworkId,
    NodeId, Registration, Role, TrustAnchors, Validator, Verdict, domain_message,
};
use subtle::ConstantTimeEq;
use tpm2_protocol::{
    TpmUnmarshal,
    data::{TpmAlgId, TpmSt, TpmsAttest, TpmtSignature, TpmuAttest, TpmuSignature},
};

use crate::{
    crypto::{UnusableKey, pad, sha256},
    endorsement::{Endorsement, EndorsementError},
    launcher,
    release::ReleasePublicKey,
    tpm::{
        PCR_LAUNCHER,
        template::{self, attestation_public},
    },
};

/// Evidence that passed. Only [`appraise`] and [`appraise_endorsed`] make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraised {
    evidence: Evidence,
    evidence_id: ContentId,
    result: AttestationResult,
    vendor: String,
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

    /// Who made the TPM ([`Endorsement::vendor`]).
    pub fn vendor(&self) -> &str {
        &self.vendor
    }

    /// The TPM's counters at the time of the quote; remember them to notice older evidence.
    pub fn clock(&self) -> ClockSeen {
        self.clock
    }

    /// For tests of other crates: as if `evidence` had passed.
    #[cfg(feature = "testing")]
    pub fn for_tests(evidence: Evidence, result: AttestationResult) -> Self {
        let evidence_id = evidence.block_id();
        Self {
            evidence,
            evidence_id,
            result,
            vendor: "unknown".into(),
            clock: ClockSeen { resets: 0, restarts: 0, clock_ms: 0 },
        }
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

impl ClockSeen {
    fn may_follow(&self, earlier: &Self) -> bool {
        self.resets > earlier.resets
            || (self.resets == earlier.resets && self.restarts >= earlier.restarts && self.clock_ms >= earlier.clock_ms)
    }
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

    /// What was expected of the evidence behind `verdict`, which became final at `verdict_ms`; `None` as above.
    ///
    /// Votes take their time to get into a block, so evidence that was fresh for those who voted may be older than the
    /// policy allows when its verdict is final. It is judged as of the last moment at which they may have voted: before
    /// the verdict was final, while the evidence was fresh, and not before the verdict's window. If there was no such
    /// moment, the evidence is stale.
    pub fn of_verdict(
        genesis: &'a Genesis,
        network: NetworkId,
        verdict: &Verdict,
        verdict_ms: u64,
        block: BlockRef,
    ) -> Option<Self> {
        let policy = &genesis.appraisal;
        let voted_ms =
            verdict_ms.min(policy.fresh_until_ms(block.time_ms)).max(policy.window_begins_ms(verdict.window));
        Self::of_genesis(genesis, network, &verdict.node, verdict.window, block, voted_ms)
    }
}

/// Who must act when evidence does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The evidence is forged, replayed or damaged.
    Attester,
    /// The evidence has aged or came for another moment: the attester makes a new one.
    Timing,
    /// Whoever runs the machine: it is not the approved one, or runs something that is not approved.
    Operator,
    /// The network's own genesis.
    Network,
}

/// Why evidence does not pass. [`AppraiseError::fault`] says who must act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppraiseError {
    /// The registration differs from what the committee has approved.
    #[error("the {what} is not the one that the committee has approved for this node")]
    NotApproved {
        /// What differs.
        what: &'static str,
    },
    /// It was made for another role or another window.
    #[error("the evidence is for another {what}")]
    OtherRequest {
        /// Which of the two.
        what: &'static str,
    },
    /// The block it names is not the finalized one at that height.
    #[error("the evidence names a block that is not in the ledger")]
    UnknownBlock,
    /// Too old.
    #[error("the evidence is {age_ms} ms old, the policy allows {age_ms_max}")]
    Stale {
        /// Its age in ledger time.
        age_ms: u64,
        /// The most that passes.
        age_ms_max: u64,
    },
    /// Nobody vouches for the TPM.
    #[error(transparent)]
    Endorsement(#[from] EndorsementError),
    /// The attestation key is not the registered one, or no attestation key.
    #[error("attestation key: {0}")]
    AttestationKey(&'static str),
    /// The attestation key has not signed this.
    #[error("the signature on the quote is not the attestation key's")]
    Signature,
    /// Signed, but no quote.
    #[error("not a quote: {0}")]
    NotAQuote(&'static str),
    /// A quote for other keys, another network, request or block.
    #[error("the quote is bound to something else")]
    Binding,
    /// It covers other registers than the policy says.
    #[error("the quote does not cover exactly the registers {expected:?}")]
    Selection {
        /// Those of the policy.
        expected: Vec<u32>,
    },
    /// The registers sent along are not the quoted ones.
    #[error("the registers sent along are not the quoted ones")]
    Registers,
    /// A quote older than one already seen.
    #[error("an older quote than one seen before of the same TPM")]
    ClockBack,
    /// The log is not the one that the evidence names.
    #[error("the event log is not the one that the evidence names")]
    OtherLog,
    /// The log is empty or too long.
    #[error("the event log has {entries} entries, 1 to {} are expected", launcher::ENTRIES_MAX)]
    LogLength {
        /// How many it has.
        entries: usize,
    },
    /// The log does not lead to register 14.
    #[error("the event log does not explain register {PCR_LAUNCHER}")]
    Replay,
    /// Something ran that the release key has not approved.
    #[error("nobody vouches for the binary {binary}")]
    UnapprovedBinary {
        /// Its hash.
        binary: Digest,
    },
    /// Something ran that is approved and too old.
    #[error("release {counter} is older than {counter_min}, the oldest that passes")]
    OldRelease {
        /// What ran.
        counter: u64,
        /// What the policy asks for.
        counter_min: u64,
    },
    /// The network's policy cannot be followed.
    #[error("the appraisal policy of this network is unusable: {0}")]
    Policy(&'static str),
}

impl AppraiseError {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotApproved { .. } | Self::UnapprovedBinary { .. } | Self::OldRelease { .. } => Fault::Operator,
            Self::Endorsement(EndorsementError::Anchor) | Self::Policy(_) => Fault::Network,
            Self::Endorsement(_) => Fault::Operator,
            Self::OtherRequest { .. } | Self::UnknownBlock | Self::Stale { .. } => Fault::Timing,
            _ => Fault::Attester,
        }
    }
}

/// What a quote's extraData must be: binds the quote to a network, a registration (and so to all of the node's keys), a
/// role, a window and a finalized block. It vouches for those keys only, so relaying it gains nothing.
pub fn binding(network: &NetworkId, registration: &Digest, role: Role, window: u64, block: &BlockRef) -> [u8; 32] {
    let role: &[u8] = match role {
        Role::Executor => b"executor",
    };
    let parts = Digest::of_parts(&[
        &registration.0,
        role,
        &window.to_be_bytes(),
        &block.height.to_be_bytes(),
        &block.time_ms.to_be_bytes(),
        &block.digest.0,
    ]);
    sha256(&[&domain_message(network, "evidence", &parts.0)])
}

/// Appraises evidence and the event log behind it. Pure: no clock, no network.
///
/// # Errors
/// [`AppraiseError`].
///
/// Source: RFC 9334, 8; TPM 2.0 library, part 2, 10.12 (TPMS_ATTEST).
pub fn appraise(
    evidence: &Evidence,
    log: &EventLog,
    expectation: &Expectation<'_>,
) -> Result<Appraised, AppraiseError> {
    check_request(evidence, expectation)?;
    let endorsement = Endorsement::check(&evidence.tpm.endorsement_chain, expectation.anchors, expectation.now_ms)?;
    appraise_vouched(evidence, log, expectation, &endorsement)
}

/// Like [`appraise`], for a TPM whose endorsement was checked before. One that is for another chain, or has ended, is
/// checked anew.
///
/// # Errors
/// [`AppraiseError`].
pub fn appraise_endorsed(
    evidence: &Evidence,
    log: &EventLog,
    expectation: &Expectation<'_>,
    endorsement: &Endorsement,
) -> Result<Appraised, AppraiseError> {
    if !endorsement.covers(&evidence.tpm.endorsement_chain, expectation.anchors, expectation.now_ms) {
        return appraise(evidence, log, expectation);
    }
    check_request(evidence, expectation)?;
    appraise_vouched(evidence, log, expectation, endorsement)
}

/// What is left to judge once the request fits and `endorsement` is that of the evidence's chain.
fn appraise_vouched(
    evidence: &Evidence,
    log: &EventLog,
    expectation: &Expectation<'_>,
    endorsement: &Endorsement,
) -> Result<Appraised, AppraiseError> {
    if endorsement.fingerprint() != evidence.registration.endorsement {
        return Err(AppraiseError::NotApproved { what: "endorsement certificate" });
    }
    let (launched, clock) = check_quote(evidence, expectation)?;
    let release_counter = check_log(evidence, log, &launched, expectation.policy)?;
    let result = AttestationResult {
        simulated: endorsement.simulated(),
        // Nothing measures the launcher yet, so whoever is root on that machine could have extended what it liked.
        self_measured: true,
        release_counter,
    };
    let vendor = endorsement.vendor().to_owned();
    Ok(Appraised { evidence: evidence.clone(), evidence_id: evidence.block_id(), result, vendor, clock })
}

/// What needs no cryptography: the approved node, the right request, a recent block.
fn check_request(evidence: &Evidence, expectation: &Expectation<'_>) -> Result<(), AppraiseError> {
    if let Some(what) = expectation.approved.differs(&evidence.registration) {
        return Err(AppraiseError::NotApproved { what });
    }
    if evidence.role != expectation.role {
        return Err(AppraiseError::OtherRequest { what: "role" });
    }
    if evidence.window != expectation.window {
        return Err(AppraiseError::OtherRequest { what: "window" });
    }
    if evidence.block != expectation.block || evidence.block.time_ms > expectation.now_ms {
        return Err(AppraiseError::UnknownBlock);
    }
    let (policy, now_ms, block_ms) = (expectation.policy, expectation.now_ms, evidence.block.time_ms);
    if now_ms > policy.fresh_until_ms(block_ms) {
        return Err(AppraiseError::Stale { age_ms: now_ms - block_ms, age_ms_max: policy.evidence_age_ms_max });
    }
    Ok(())
}

/// The registered attestation key has quoted exactly these registers for exactly this purpose. Returns register 14 and
/// the TPM's counters.
fn check_quote(evidence: &Evidence, expectation: &Expectation<'_>) -> Result<(Digest, ClockSeen), AppraiseError> {
    let (tpm, registration) = (&evidence.tpm, &evidence.registration);
    let unusable = |UnusableKey(reason): UnusableKey| AppraiseError::AttestationKey(reason);
    if template::name_of(&tpm.attestation_key.0).map_err(unusable)? != registration.attestation_key.0 {
        return Err(AppraiseError::AttestationKey("not the registered one"));
    }
    let key = attestation_public(&tpm.attestation_key.0).map_err(unusable)?;
    check_signature(&key, &tpm.quote.0, &tpm.signature.0)?;

    let attest = parse_attest(&tpm.quote.0)?;
    let TpmuAttest::Quote(quote) = &attest.attested else {
        return Err(AppraiseError::NotAQuote("the TPM attests something else"));
    };
    let expected =
        binding(&expectation.network, &registration.digest(), evidence.role, evidence.window, &evidence.block);
    if !bool::from(attest.extra_data.ct_eq(&expected)) {
        return Err(AppraiseError::Binding);
    }
    if template::encode(&quote.pcr_select) != template::selection(&expectation.policy.pcrs) {
        return Err(AppraiseError::Selection { expected: expectation.policy.pcrs.clone() });
    }
    let launched = check_registers(evidence, &quote.pcr_digest, &expectation.policy.pcrs)?;
    let clock = ClockSeen {
        resets: attest.clock_info.reset_count.value(),
        restarts: attest.clock_info.restart_count.value(),
        clock_ms: attest.clock_info.clock.value(),
    };
    if expectation.last_seen.is_some_and(|earlier| !clock.may_follow(&earlier)) {
        return Err(AppraiseError::ClockBack);
    }
    Ok((launched, clock))
}

/// ECDSA over the raw bytes; nothing of them has been looked at before.
fn check_signature(key: &p256::ecdsa::VerifyingKey, attest: &[u8], signature: &[u8]) -> Result<(), AppraiseError> {
    use p256::ecdsa::signature::hazmat::PrehashVerifier;
    let signature = parse_signature(signature).ok_or(AppraiseError::Signature)?;
    key.verify_prehash(&sha256(&[attest]), &signature).map_err(|_| AppraiseError::Signature)
}

fn parse_signature(bytes: &[u8]) -> Option<p256::ecdsa::Signature> {
    let (signature, rest) = TpmtSignature::unmarshal(bytes).ok()?;
    let TpmuSignature::Ecdsa(scalars) = signature.signature else { return None };
    if !rest.is_empty() || signature.sig_alg != TpmAlgId::Ecdsa || scalars.hash != TpmAlgId::Sha256 {
        return None;
    }
    let (r, s) = (pad::<32>(&scalars.signature_r)?, pad::<32>(&scalars.signature_s)?);
    p256::ecdsa::Signature::from_scalars(r, s).ok()
}

fn parse_attest(bytes: &[u8]) -> Result<TpmsAttest, AppraiseError> {
    // TPM_GENERATED_VALUE: a TPM signs no outside data that begins like this with a restricted key.
    const MAGIC: [u8; 4] = [0xff, 0x54, 0x43, 0x47];
    if bytes.get(..4) != Some(&MAGIC) {
        return Err(AppraiseError::NotAQuote("not made by a TPM"));
    }
    let (attest, rest) = TpmsAttest::unmarshal(bytes).map_err(|_| AppraiseError::NotAQuote("malformed"))?;
    if !rest.is_empty() {
        return Err(AppraiseError::NotAQuote("trailing bytes"));
    }
    if attest.attest_type != TpmSt::AttestQuote {
        return Err(AppraiseError::NotAQuote("the TPM attests something else"));
    }
    Ok(attest)
}

/// The registers sent along are those of the policy, ascending, and hash to the quoted digest. Returns register 14.
fn check_registers(evidence: &Evidence, quoted: &[u8], policy: &[u32]) -> Result<Digest, AppraiseError> {
    if !policy.windows(2).all(|pair| pair[0] < pair[1]) || policy.last().is_some_and(|last| *last > 23) {
        return Err(AppraiseError::Policy("its registers do not ascend from 0 to at most 23"));
    }
    let sent = &evidence.tpm.pcrs;
    if !sent.iter().map(|register| register.index).eq(policy.iter().copied()) {
        return Err(AppraiseError::Registers);
    }
    let values: Vec<&[u8]> = sent.iter().map(|register| &register.value.0[..]).collect();
    if !bool::from(quoted.ct_eq(&sha256(&values))) {
        return Err(AppraiseError::Registers);
    }
    sent.iter()
        .find(|register| register.index == PCR_LAUNCHER)
        .map(|register| register.value)
        .ok_or(AppraiseError::Policy("it leaves out register 14"))
}

/// The log leads to register 14, and every start in it was of an approved release. Returns the counter of the last one.
fn check_log(
    evidence: &Evidence,
    log: &EventLog,
    launched: &Digest,
    policy: &AppraisalPolicy,
) -> Result<u64, AppraiseError> {
    let entries = log.entries.len();
    let (Some(last), true) = (log.entries.last(), entries <= launcher::ENTRIES_MAX) else {
        return Err(AppraiseError::LogLength { entries });
    };
    if log.content_id() != evidence.tpm.log {
        return Err(AppraiseError::OtherLog);
    }
    if launcher::replay(log) != *launched {
        return Err(AppraiseError::Replay);
    }
    let release_key = ReleasePublicKey::from_bytes(&policy.release_key.0)
        .map_err(|_| AppraiseError::Policy("its release key is not a P-256 public key"))?;
    for (position, entry) in log.entries.iter().enumerate() {
        // Restarts repeat the entry; its signature need not be checked again.
        let seen = position > 0 && log.entries[position - 1] == *entry;
        if !seen {
            check_release(entry, &release_key, policy.release_counter_min)?;
        }
    }
    Ok(last.release.as_ref().map_or(0, |release| release.counter))
}

fn check_release(
    entry: &model::LogEntry,
    release_key: &ReleasePublicKey,
    counter_min: u64,
) -> Result<(), AppraiseError> {
    let unapproved = AppraiseError::UnapprovedBinary { binary: entry.binary };
    let Some(release) = entry.release.as_ref().filter(|release| release.binary == entry.binary) else {
        return Err(unapproved);
    };
    release_key.check(release).map_err(|_| unapproved)?;
    if release.counter < counter_min {
        return Err(AppraiseError::OldRelease { counter: release.counter, counter_min });
    }
    Ok(())
}

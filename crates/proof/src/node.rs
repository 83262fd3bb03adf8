//! The executor: drawn by the beacon, with a verdict that held, for keys that evidence vouches for.

use attest::Expectation;
use model::{
    Assignment, AttestationResult, Canonical, CustodyMode, Digest, EventLog, Evidence, Genesis, NetworkId, NodeId, log,
};

use crate::{Extras, Link, Proof, ProofError, error::same, facts::Facts};

/// Checks the draw: seed, index, path, deadline, and what the terms allow to leave.
pub(crate) fn check_draw(genesis: &Genesis, network: &finality::Network, facts: &Facts) -> Result<(), ProofError> {
    const LINK: Link = Link::Draw;
    let assignment: &Assignment = facts.assignment.get();
    network.check_seed(&assignment.seed)?;
    same((1..=2).contains(&assignment.attempt), LINK, "the attempt", "the first or the second")?;
    same(assignment.eligible_size > 0, LINK, "the list of eligible nodes", "a list with an entry")?;
    let index = ledger::draw_index(&assignment.seed, &assignment.task, assignment.attempt, assignment.eligible_size);
    same(assignment.index == index, LINK, "the index that was drawn", "the one that the seed gives")?;
    let listed = log::check_path(
        &assignment.eligible_root,
        u64::from(assignment.eligible_size),
        u64::from(index),
        &Digest(assignment.executor.0),
        &assignment.path,
    );
    same(listed, LINK, "the executor", "the eligible node at the index that was drawn")?;
    // The seed of a later block than the request: nobody could have known it.
    let later = facts.task.height().saturating_add(2) <= facts.assignment.height();
    same(later, LINK, "the draw", "at least two blocks after the request")?;
    let limits = &facts.task.get().limits;
    let output = limits.output_bytes_max(facts.objects.iter().map(|object| object.terms.get().unverified()));
    same(assignment.output_bytes_max == output, LINK, "what may leave", "the strictest of task and terms")?;
    let at_ms = facts.assignment.time_ms();
    let bytes = facts.objects.iter().map(|object| object.object.get().manifest.unverified().ciphertext_bytes);
    let deadline = at_ms.saturating_add(ledger::attempt_ms(genesis, limits, bytes));
    same(assignment.deadline_ms == deadline, LINK, "the deadline", "what the limits give")?;
    let holds_share = |node: &NodeId| {
        let mut custodians =
            facts.objects.iter().flat_map(|object| &object.object.get().deposit.unverified().custodians);
        custodians.any(|custodian| custodian.node == *node)
    };
    let apart = genesis.custody == CustodyMode::Development || !holds_share(&assignment.executor);
    same(apart, LINK, "the executor", "no custodian of its inputs")
}

/// Checks the verdict: about the executor, fresh when it was drawn, signed by enough of those drawn to appraise it.
pub(crate) fn check_verdict(genesis: &Genesis, network: &finality::Network, facts: &Facts) -> Result<(), ProofError> {
    const LINK: Link = Link::Verdict;
    let verdict = facts.verdict.get();
    let executor = facts.assignment.get().executor;
    same(facts.assignment.get().verdict == facts.verdict.digest(), LINK, "the verdict", "the one the draw rests on")?;
    same(verdict.node == executor, LINK, "the verdict's node", "the executor")?;
    let at_ms = facts.verdict.time_ms();
    let expires_ms = at_ms.saturating_add(genesis.appraisal.verdict_ms);
    same(verdict.expires_ms == expires_ms, LINK, "the verdict's expiry", "what the network's policy gives")?;
    let fresh = facts.assignment.time_ms() < verdict.expires_ms;
    same(fresh, LINK, "the verdict", "one that held when the executor was drawn")?;
    let open = genesis.appraisal.may_vote_in(verdict.window, at_ms);
    same(open, LINK, "the verdict's window", "the one it was made in, or the one before")?;
    // That the seed is the one of the verdict's window, the ledger has checked; here it is only known to be older than the
    // executor's draw.
    network.check_seed(&verdict.seed)?;
    let earlier = verdict.seed.round < facts.assignment.get().seed.round;
    same(earlier, LINK, "the seed of the appraisal window", "one from before the draw of the executor")?;
    ledger::check_verdict(genesis, &network.id, facts.registration.get(), verdict).map_err(ProofError::Verdict)
}

/// The evidence that the verdict names, and the event log that the evidence names, if it is here.
pub(crate) struct Named {
    evidence: Evidence,
    log: Option<EventLog>,
}

/// Reads evidence and event log and checks that they are the blocks that are named. Cheap, so it comes early.
pub(crate) fn named_evidence(proof: &Proof, extras: &Extras<'_>, facts: &Facts) -> Result<Named, ProofError> {
    const LINK: Link = Link::Evidence;
    let unreadable = |cause| ProofError::Encoding { link: LINK, cause };
    let is_named = is_block(&facts.verdict.get().evidence, &proof.evidence.0);
    same(is_named, LINK, "the evidence", "the block that the verdict names")?;
    let evidence = Evidence::from_bytes(&proof.evidence.0, Evidence::BYTES_MAX).map_err(unreadable)?;
    let in_proof = proof.event_log.as_ref().map(|log| log.0.as_slice());
    let beside = || extras.blocks.iter().map(Vec::as_slice).find(|block| is_block(&evidence.tpm.log, block));
    let Some(log) = in_proof.or_else(beside) else { return Ok(Named { evidence, log: None }) };
    same(is_block(&evidence.tpm.log, log), LINK, "the event log", "the block that the evidence names")?;
    let log = EventLog::from_bytes(log, Evidence::BYTES_MAX).map_err(unreadable)?;
    Ok(Named { evidence, log: Some(log) })
}

/// Appraises the evidence behind the verdict again, as of the block it names. Answers whether that could be done: without
/// the event log, the votes alone stand for it.
pub(crate) fn check_evidence(
    genesis: &Genesis,
    network: &NetworkId,
    named: &Named,
    facts: &Facts,
) -> Result<bool, ProofError> {
    const LINK: Link = Link::Evidence;
    let (evidence, verdict) = (&named.evidence, facts.verdict.get());
    same(evidence.registration == *facts.registration.get(), LINK, "the evidence", "for the registered keys")?;
    same(evidence.window == verdict.window, LINK, "the evidence's window", "the verdict's")?;
    check_age(genesis, evidence, facts)?;
    let Some(log) = &named.log else { return Ok(false) };
    let result = appraise_again(genesis, network, evidence, log)?;
    same(result == verdict.result, LINK, "what appraisal finds", "what the verdict says")?;
    Ok(true)
}

/// Evidence names a block that was there when the verdict was made, and was not too old for appraisers, who vote in the
/// evidence's window or the next. Without this, evidence of any time in the past could be voted on again.
fn check_age(genesis: &Genesis, evidence: &Evidence, facts: &Facts) -> Result<(), ProofError> {
    const LINK: Link = Link::Evidence;
    let (block, verdict, policy) = (&evidence.block, &facts.verdict, &genesis.appraisal);
    let past = block.height <= verdict.height() && block.time_ms <= verdict.time_ms();
    same(past, LINK, "the block that the evidence names", "one before the verdict")?;
    let recent = policy.fresh_until_ms(block.time_ms) >= policy.window_begins_ms(evidence.window);
    same(recent, LINK, "the evidence", "fresh in the window it was made for")
}

fn is_block(id: &model::ContentId, block: &[u8]) -> bool {
    model::ContentId::of_dag_cbor(block) == *id
}

/// Judged at the time of the block it names: that it was fresh when they voted, the appraisers vouch for.
fn appraise_again(
    genesis: &Genesis,
    network: &NetworkId,
    evidence: &Evidence,
    log: &EventLog,
) -> Result<AttestationResult, ProofError> {
    let (node, block) = (evidence.registration.node, evidence.block);
    let expectation = Expectation::of_genesis(genesis, *network, &node, evidence.window, block, block.time_ms);
    let expectation = expectation.ok_or(ProofError::Stranger {
        link: Link::Evidence,
        who: node,
        what: "is not approved by the committee",
    })?;
    let appraised = attest::appraise(evidence, log, &expectation).map_err(ProofError::Evidence)?;
    Ok(appraised.result())
}

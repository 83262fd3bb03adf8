//! The rule by which votes make a verdict. The ledger applies it to a transaction, part by part; whoever is shown a verdict
//! applies the whole of it again.

use model::{AppraisalPolicy, AppraisalVote, Canonical, Genesis, NetworkId, NodeId, Registration, Signed, Verdict};

use crate::{
    Refusal,
    check::{ascending, matching},
    draw,
};

/// Checks that a verdict about the keys in `registration` is one that the ledger could have taken: the committee has
/// approved the node as it is, and enough of those whom the verdict's seed draws have signed just what the verdict says.
///
/// Not checked here: that the committee has signed the seed, and what needs ledger time, the window and the expiry.
///
/// # Errors
/// The [`Refusal`] of the first thing that is wrong.
pub fn check_verdict(
    genesis: &Genesis,
    network: &NetworkId,
    registration: &Registration,
    verdict: &Verdict,
) -> Result<(), Refusal> {
    // All of it: a further field does not compile until somebody has thought about it.
    let Verdict { node, registration: vouched, evidence, window, result, seed, drawn, votes, expires_ms: _ } = verdict;
    check_approved(genesis, registration)?;
    let same_keys = *node == registration.node && *vouched == registration.digest();
    matching(same_keys, "verdict", "the registration")?;
    let said = unanimous(registration, votes)?;
    let as_said = (evidence, window, result) == (&said.evidence, &said.window, &said.result);
    matching(as_said, "verdict", "its votes")?;
    matching(*drawn == draw::appraisers(genesis, seed, node), "drawn", "those whom the seed draws")?;
    check_votes(drawn, votes)?;
    for vote in votes {
        vote.verify(network)?;
    }
    Ok(())
}

/// What a node says of itself must be what the committee has approved.
pub(crate) fn check_approved(genesis: &Genesis, registration: &Registration) -> Result<(), Refusal> {
    let node = registration.node;
    let approved = genesis.validator(&node).ok_or(Refusal::NotApproved { node })?;
    match approved.differs(registration) {
        Some(what) => Err(Refusal::ApprovedOtherwise { node, what }),
        None => Ok(()),
    }
}

/// What all votes say about these keys: one vote of each appraiser, ascending, and at least one.
pub(crate) fn unanimous<'a>(
    registration: &Registration,
    votes: &'a [Signed<AppraisalVote>],
) -> Result<&'a AppraisalVote, Refusal> {
    let appraiser = |vote: &Signed<AppraisalVote>| vote.unverified().appraiser;
    ascending(votes.windows(2).all(|pair| appraiser(&pair[0]) < appraiser(&pair[1])), "votes")?;
    let first = votes.first().ok_or(Refusal::Bounds { what: "votes", rule: "at least 1" })?.unverified();
    let about_it = first.subject == registration.node && first.registration == registration.digest();
    matching(about_it, "vote", "the registration")?;
    let agrees = |vote: &AppraisalVote| AppraisalVote { appraiser: first.appraiser, ..vote.clone() } == *first;
    matching(votes.iter().all(|vote| agrees(vote.unverified())), "vote", "the other votes")?;
    Ok(first)
}

/// Nobody but those drawn has voted, and at least two thirds of them have.
pub(crate) fn check_votes(drawn: &[NodeId], votes: &[Signed<AppraisalVote>]) -> Result<(), Refusal> {
    for vote in votes.iter().map(Signed::unverified) {
        let AppraisalVote { appraiser, subject: node, window, .. } = *vote;
        if !drawn.contains(&appraiser) {
            return Err(Refusal::NotDrawn { appraiser, node, window });
        }
    }
    let needed = AppraisalPolicy::votes_needed(drawn.len());
    if votes.len() < needed {
        return Err(Refusal::VotesNeeded { got: votes.len(), needed, drawn: drawn.len() });
    }
    Ok(())
}

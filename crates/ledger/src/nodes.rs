//! Nodes: verdicts, and the windows whose seeds draw appraisers.

use model::{Attestation, Canonical, Digest, Fact, Genesis, NodeId, Registration, Seed, Verdict};

use crate::{
    Refusal, draw, key,
    money::move_credits,
    state::{NodeState, Roster, Window, Windows},
    tasks, verdict,
    view::{Halt, View},
};

/// Keeps the seed of the first block of a window that carries one.
pub(crate) fn open_window(view: &mut View, genesis: &Genesis, seed: Option<Seed>) -> Result<(), Halt> {
    let Some(seed) = seed else { return Ok(()) };
    let number = genesis.appraisal.window_at(view.time_ms());
    let known: Option<Windows> = view.get(&key::windows())?;
    let previous = known.map(|windows| windows.current);
    if previous.is_none_or(|window| window.number < number) {
        view.put(key::windows(), &Windows { current: Window { number, seed }, previous });
    }
    Ok(())
}

/// A node presents the votes of its appraisers: the network's verdict, if they suffice.
pub(crate) fn attest(view: &mut View, genesis: &Genesis, attestation: &Attestation) -> Result<(), Halt> {
    let Attestation { registration, votes } = attestation;
    let node = registration.node;
    verdict::check_approved(genesis, registration)?;
    let vote = verdict::unanimous(registration, votes)?;
    let window = vote.window;
    let seed = window_seed(view, genesis, window)?;
    let drawn = draw::appraisers(genesis, &seed, &node);
    verdict::check_votes(&drawn, votes)?;

    let known: Option<NodeState> = view.get(&key::node(&node))?;
    if known.as_ref().is_some_and(|known| known.window >= window) {
        return Err(Refusal::AlreadyAppraised { node, window }.into());
    }
    for appraiser in votes.iter().map(|vote| vote.unverified().appraiser) {
        move_credits(view, &node, &appraiser, genesis.fees.appraisal)?;
    }
    if known.is_none() {
        enrol(view, node)?;
    }
    let digest = record_registration(view, registration)?;
    let expires_ms = view.time_ms().saturating_add(genesis.appraisal.verdict_ms);
    let verdict = Verdict {
        node,
        registration: digest,
        evidence: vote.evidence,
        window,
        result: vote.result,
        seed,
        drawn,
        votes: votes.clone(),
        expires_ms,
    };
    let state = NodeState {
        operator: registration.operator.clone(),
        region: registration.region.clone(),
        endorsement: registration.endorsement,
        sealing_key: Digest::of(&registration.sealing_key.0),
        registration: digest,
        verdict: view.record(Fact::Verdict(Box::new(verdict))),
        window,
        expires_ms,
        result: vote.result,
        lapsed: false,
        running: known.map_or(0, |known| known.running),
    };
    view.put(key::node(&node), &state);
    tasks::look_again(view)
}

/// The seed that draws the appraisers of a window, if it may still be voted in.
fn window_seed(view: &mut View, genesis: &Genesis, window: u64) -> Result<Seed, Halt> {
    let (policy, time_ms) = (&genesis.appraisal, view.time_ms());
    let closed = Refusal::Window { window, now: policy.window_at(time_ms) };
    let windows: Windows = view.get(&key::windows())?.ok_or_else(|| closed.clone())?;
    Ok(windows.seed(window, policy, time_ms).ok_or(closed)?)
}

fn enrol(view: &mut View, node: NodeId) -> Result<(), Halt> {
    let mut roster: Roster = view.get(&key::roster())?.unwrap_or_default();
    if let Err(at) = roster.nodes.binary_search(&node) {
        roster.nodes.insert(at, node);
        view.put(key::roster(), &roster);
    }
    Ok(())
}

/// Records a registration unless it is recorded already. Answers its digest.
fn record_registration(view: &mut View, registration: &Registration) -> Result<Digest, Halt> {
    let digest = registration.digest();
    let key = key::registration(&digest);
    if view.get::<Digest>(&key)?.is_none() {
        let record = view.record(Fact::Registration(Box::new(registration.clone())));
        view.put(key, &record);
    }
    Ok(digest)
}

/// The node, if its verdict holds now.
pub(crate) fn fresh(view: &mut View, node: &NodeId, what: &'static str) -> Result<NodeState, Halt> {
    let state: Option<NodeState> = view.get(&key::node(node))?;
    let time_ms = view.time_ms();
    let state = state.filter(|state| state.is_fresh(time_ms));
    Ok(state.ok_or(Refusal::NoVerdict { node: *node, what })?)
}

/// Every node whose verdict holds now, ascending.
pub(crate) fn all_fresh(view: &mut View) -> Result<Vec<(NodeId, NodeState)>, Halt> {
    let roster: Roster = view.get(&key::roster())?.unwrap_or_default();
    view.expect(roster.nodes.iter().map(key::node))?;
    let time_ms = view.time_ms();
    let mut nodes = Vec::new();
    for node in roster.nodes {
        let state: Option<NodeState> = view.get(&key::node(&node))?;
        nodes.extend(state.filter(|state| state.is_fresh(time_ms)).map(|state| (node, state)));
    }
    Ok(nodes)
}

/// Changes what is kept about a node that is known.
pub(crate) fn change(view: &mut View, node: &NodeId, change: impl FnOnce(&mut NodeState)) -> Result<(), Halt> {
    if let Some(mut state) = view.get::<NodeState>(&key::node(node))? {
        change(&mut state);
        view.put(key::node(node), &state);
    }
    Ok(())
}

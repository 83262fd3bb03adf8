//! Who does it: appraisers and executors are drawn with the beacon, so that nobody can choose them.

use model::{Digest, Genesis, NodeId, Seed, TaskId, log::Tree};

/// The appraisers of `subject` in a window with this seed: of the validators other than the subject, as many as the policy
/// says, those with the smallest `H("appraisers", seed, subject, validator)` ([`Digest::of_parts`]), ascending by node id.
pub fn appraisers(genesis: &Genesis, seed: &Seed, subject: &NodeId) -> Vec<NodeId> {
    let others = genesis.validators.iter().map(|validator| validator.node).filter(|validator| validator != subject);
    let ranked = others.map(|node| (rank("appraisers", seed, &[&subject.0, &node.0]), node));
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_unstable();
    let count = genesis.appraisal.appraisers as usize;
    let mut drawn: Vec<_> = ranked.into_iter().take(count).map(|(_, node)| node).collect();
    drawn.sort_unstable();
    drawn
}

/// Which of `size` eligible nodes runs a task: the first eight bytes, big-endian, of `H("draw", seed, task, attempt)`
/// modulo `size`. `size` must not be 0.
pub fn draw_index(seed: &Seed, task: &TaskId, attempt: u8, size: u32) -> u32 {
    let digest = rank("draw", seed, &[&task.0, &[attempt]]);
    let mut first = [0; 8];
    first.copy_from_slice(&digest.0[..8]);
    // Fits: the remainder is below a u32.
    (u64::from_be_bytes(first) % u64::from(size.max(1))) as u32
}

/// A node that could run a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) node: NodeId,
    pub(crate) operator: String,
    pub(crate) endorsement: Digest,
}

/// The list a draw is made from, ascending by node id: one entry per TPM, or one per operator where shares must be
/// spread (`per_operator`), so that running more nodes than machines, or more machines than others, gains nothing.
/// Which node of several gets the entry, the seed decides: the one with the smallest `H("entry", seed, task, node)`.
pub(crate) fn entries(seed: &Seed, task: &TaskId, candidates: Vec<Candidate>, per_operator: bool) -> Vec<NodeId> {
    let mut ranked: Vec<_> =
        candidates.into_iter().map(|one| (rank("entry", seed, &[&task.0, &one.node.0]), one)).collect();
    ranked.sort_unstable_by_key(|(rank, one)| (*rank, one.node));
    let mut nodes: Vec<NodeId> = Vec::new();
    let mut taken: Vec<(String, Digest)> = Vec::new();
    for (_, one) in ranked {
        let same = |(operator, endorsement): &(String, Digest)| {
            *operator == one.operator && (per_operator || *endorsement == one.endorsement)
        };
        if !taken.iter().any(same) {
            nodes.push(one.node);
            taken.push((one.operator, one.endorsement));
        }
    }
    nodes.sort_unstable();
    nodes
}

/// The RFC 9162 root of a list of nodes, and the inclusion path of one of them.
pub(crate) fn commit(nodes: &[NodeId], index: u32) -> Option<(Digest, Vec<Digest>)> {
    let tree = Tree::of(nodes.iter().map(|node| Digest(node.0)));
    Some((tree.root(tree.size())?, tree.prove_path(tree.size(), u64::from(index))?))
}

fn rank(what: &str, seed: &Seed, parts: &[&[u8]]) -> Digest {
    let mut all: Vec<&[u8]> = vec![what.as_bytes(), &seed.signature.0];
    all.extend_from_slice(parts);
    Digest::of_parts(&all)
}

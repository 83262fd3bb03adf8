//! What was checked, in sentences that a lawyer can read.

use std::fmt;

use model::{CustodyMode, ObjectKind, Outcome};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{Link, Verified, verify::CheckpointUse};

/// What a verified proof shows. Everything in it was checked; nothing is repeated on anybody's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checklist {
    /// Which network.
    pub network: String,
    /// Height of the block that finalized the receipt.
    pub height: u64,
    /// Ledger time of that block, milliseconds since 1970.
    pub time_ms: u64,
    /// `simulated`, `self-measured`, `custody: development`: what weakens the proof, before anything else is said.
    pub warnings: Vec<String>,
    /// What was checked, in order.
    pub items: Vec<Item>,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Which link of the chain.
    pub link: String,
    /// What holds.
    pub sentence: String,
}

impl fmt::Display for Checklist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in &self.items {
            writeln!(f, "  [x] {:<9} {}", item.link, item.sentence)?;
        }
        writeln!(f, "  height    {}", self.height)?;
        writeln!(f, "  time      {} (ledger time)", date(self.time_ms))?;
        for warning in &self.warnings {
            writeln!(f, "  note      {warning}")?;
        }
        write!(f, "verified")
    }
}

pub(crate) fn of(verified: &Verified) -> Checklist {
    let (height, time_ms) = verified.finalized();
    Checklist {
        network: verified.network.to_string(),
        height,
        time_ms,
        warnings: warnings(verified),
        items: items(verified),
    }
}

fn warnings(verified: &Verified) -> Vec<String> {
    let mut warnings = Vec::new();
    if verified.simulated() {
        warnings.push(
            "simulated: this network takes software TPMs; this shows how things work, it protects nothing".into(),
        );
    }
    if verified.self_measured() {
        warnings.push(
            "self-measured: nothing beneath the node's launcher was measured, so whoever administers that machine could \
             have run something else"
                .into(),
        );
    }
    if verified.genesis.custody == CustodyMode::Development {
        warnings.push("custody: development: one operator may hold enough shares to open the objects".into());
    }
    match verified.checkpoint {
        CheckpointUse::Linked => {}
        CheckpointUse::Agrees => warnings
            .push("checkpoint: the head does not contradict the checkpoint, but no proof links the two logs".into()),
        CheckpointUse::None => warnings.push(
            "checkpoint: none is pinned, so keys stolen from a past committee could have signed this head".into(),
        ),
    }
    if !verified.evidence_judged {
        warnings.push("evidence: the event log is not here, so the evidence rests on the appraisers' votes".into());
    }
    warnings
}

fn items(verified: &Verified) -> Vec<Item> {
    let facts = &verified.facts;
    let mut items = Vec::new();
    let mut add = |link: Link, sentence: String| items.push(Item { link: link.to_string(), sentence });
    let head = &verified.head;
    add(Link::Genesis, format!("The rules are those of network {} ({}).", verified.network, verified.genesis.name));
    add(
        Link::Finality,
        format!(
            "The network's committee has certified block {} of {}; its log of {} records contains every record below.",
            head.height(),
            date(head.time_ms()),
            head.log_size()
        ),
    );
    for object in &facts.objects {
        let (published, terms) = (object.object.get(), object.terms.get().unverified());
        let manifest = published.manifest.unverified();
        let kind = match manifest.kind {
            ObjectKind::Program => "Program",
            ObjectKind::Data => "Data",
        };
        let deposit = published.deposit.unverified();
        let (threshold, custodians) = (deposit.threshold, deposit.custodians.len());
        add(
            Link::Objects,
            format!(
                "{kind} {} was published by {}; {threshold} of {custodians} custodians can release its key.",
                object.id, manifest.owner
            ),
        );
        add(
            Link::Terms,
            format!(
                "Its owner's terms (version {}) allow this requester and this combination, for {} credits.",
                terms.serial, terms.price
            ),
        );
    }
    run_items(verified, &mut add);
    items
}

fn run_items(verified: &Verified, add: &mut impl FnMut(Link, String)) {
    let facts = &verified.facts;
    let (assignment, verdict) = (facts.assignment.get(), facts.verdict.get());
    add(
        Link::Draw,
        format!(
            "Task {} was drawn to {}, entry {} of {}, by randomness nobody could choose.",
            assignment.task,
            assignment.executor,
            assignment.index + 1,
            assignment.eligible_size
        ),
    );
    add(
        Link::Verdict,
        format!(
            "{} of {} appraisers drawn had signed a verdict about that machine, which held until {}.",
            verdict.votes.len(),
            verdict.drawn.len(),
            date(verdict.expires_ms)
        ),
    );
    if verified.evidence_judged {
        let sentence = "Its TPM quote, certificates and event log were judged again here, with the same outcome";
        add(Link::Evidence, format!("{sentence}: release {}.", verdict.result.release_counter));
    } else {
        add(Link::Evidence, "The quote behind that verdict is the one the appraisers voted on.".into());
    }
    let settlement = facts.settlement.get();
    if !settlement.releases.is_empty() {
        let sentence = "custodians' signed releases to that machine, for this task and under these terms";
        add(Link::Releases, format!("{} {sentence}.", settlement.releases.len()));
    }
    match &verified.receipt().outcome {
        Outcome::Done(result) => {
            let root = result.seal.plaintext_root;
            add(
                Link::Receipt,
                format!("That machine signed that the run ended by itself; its result is committed to as {root}."),
            );
            let mut nodes: Vec<_> = settlement.storage.iter().map(|ack| ack.unverified().node).collect();
            nodes.sort_unstable();
            nodes.dedup();
            add(Link::Storage, format!("{} other nodes store the sealed result {}.", nodes.len(), result.ciphertext));
        }
        Outcome::Failed(class) => add(Link::Receipt, format!("That machine signed that the task failed: {class}.")),
    }
    let paid: Vec<String> = settlement
        .payments
        .iter()
        .map(|payment| format!("{} to {} ({})", payment.amount, payment.to, payment.reason))
        .collect();
    add(Link::Payments, format!("Paid in the same block, computed again: {}.", paid.join(", ")));
}

fn date(time_ms: u64) -> String {
    let seconds = i64::try_from(time_ms / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{time_ms} ms"))
}

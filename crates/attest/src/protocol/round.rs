//! When a node asks to be appraised, and until when anybody votes on what it has presented.

use model::{AppraisalPolicy, BlockRef};

/// The verdict that a node has, as far as its renewal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// In which window it was voted.
    pub window: u64,
    /// When it was accepted, ledger time in milliseconds.
    pub from_ms: u64,
    /// From when on it no longer holds.
    pub expires_ms: u64,
}

/// The window to be appraised in at ledger time `now_ms`, if it is time: there is no verdict, or half of its life is over.
/// The ledger takes one verdict of a window.
pub fn window_due(policy: &AppraisalPolicy, held: Option<Held>, now_ms: u64) -> Option<u64> {
    let window = policy.window_at(now_ms);
    let due = |held: Held| now_ms >= held.from_ms.midpoint(held.expires_ms) && window > held.window;
    held.is_none_or(due).then_some(window)
}

/// Whether appraisers vote, at ledger time `now_ms`, on evidence made in `window` at `block`. Later they do not any more:
/// [`super::Appraiser`] says which window, [`crate::appraise`] what age.
pub fn is_voted_on(policy: &AppraisalPolicy, window: u64, block: &BlockRef, now_ms: u64) -> bool {
    policy.may_vote_in(window, now_ms) && now_ms <= policy.fresh_until_ms(block.time_ms)
}

#[cfg(test)]
mod tests {
    use model::{Blob, Digest};

    use super::*;

    fn policy(evidence_age_ms_max: u64) -> AppraisalPolicy {
        AppraisalPolicy {
            release_key: Blob(Vec::new()),
            release_counter_min: 0,
            pcrs: vec![14],
            verdict_ms: 400,
            window_ms: 100,
            appraisers: 3,
            evidence_age_ms_max,
        }
    }

    #[test]
    fn a_verdict_is_renewed_at_half_of_its_life_and_in_another_window() {
        let due = |held, now_ms| window_due(&policy(50), held, now_ms);
        assert_eq!(due(None, 250), Some(2), "there is none yet");
        let held = Some(Held { window: 2, from_ms: 250, expires_ms: 650 });
        assert_eq!(due(held, 449), None, "the first half");
        assert_eq!(due(held, 450), Some(4));
        assert_eq!(due(held, 10_000), Some(100), "long over");
        let short = Some(Held { window: 2, from_ms: 210, expires_ms: 230 });
        assert_eq!(due(short, 299), None, "a window has one verdict");
        assert_eq!(due(short, 300), Some(3));
    }

    #[test]
    fn nobody_votes_on_evidence_that_has_aged_or_after_the_window_that_follows() {
        let block = BlockRef { height: 7, time_ms: 280, digest: Digest::of(b"block") };
        let voted = |age_ms_max, now_ms| is_voted_on(&policy(age_ms_max), 2, &block, now_ms);
        assert!(voted(50, 280) && voted(50, 330), "fresh, across the turn of the window");
        assert!(!voted(50, 331), "aged");
        assert!(voted(1_000, 399) && !voted(1_000, 400), "fresh, but the window after is over");
    }
}

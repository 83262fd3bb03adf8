//! One history: of any two heads that this machine has believed, the longer log extends the shorter one.
//!
//! A certificate alone does not show that. A quorum of stolen old shares could certify another history
//! (`SECURITY.md`), so every head is linked with those before it before anything proven against it is used, and only a
//! linked one is remembered for the next command.

use std::collections::BTreeMap;

use finality::{FinalityError, Head};
use model::{Digest, api::Extension};

use crate::{
    client::Client,
    error::ClientError,
    network::Checkpoint,
    nodes::{Miss, Question, decode},
};

/// How many sizes of the log are remembered with their roots, so that most heads need no question.
const ROOTS_MAX: usize = 256;

/// The heads believed so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Whether it begins with what this machine and the network file know.
    begun: bool,
    /// The one with the longest log; all others are linked with it.
    longest: Option<Checkpoint>,
    /// Roots of the log by its size.
    roots: BTreeMap<u64, Digest>,
}

impl History {
    /// The head with the longest log.
    pub(crate) fn longest(&self) -> Option<&Checkpoint> {
        self.longest.as_ref()
    }

    fn knows(&self, head: &Checkpoint) -> bool {
        self.roots.get(&head.log_size) == Some(&head.log_root)
    }

    fn add(&mut self, head: Checkpoint) {
        self.roots.insert(head.log_size, head.log_root);
        while self.roots.len() > ROOTS_MAX {
            self.roots.pop_first();
        }
        if self.longest.is_none_or(|longest| (longest.log_size, longest.height) < (head.log_size, head.height)) {
            self.longest = Some(head);
        }
    }
}

impl Client {
    /// Makes sure that a head is of the one history: what this machine, this process and the network file know of it.
    ///
    /// # Errors
    /// [`ClientError::OtherHistory`], or [`ClientError::NoAnswer`] if no node can show the link.
    pub(crate) async fn link(&self, head: &Head) -> Result<(), ClientError> {
        let mut history = self.history.lock().await;
        if !history.begun {
            let last = self.state_dir.last_head(&self.network.id)?;
            for known in [last, self.file.checkpoint].into_iter().flatten() {
                self.link_with(&mut history, known).await?;
            }
            history.begun = true;
        }
        self.link_with(&mut history, Checkpoint::of(head)).await
    }

    async fn link_with(&self, history: &mut History, head: Checkpoint) -> Result<(), ClientError> {
        if let Some(longest) = history.longest {
            check_order(&longest, &head)?;
            if !history.knows(&head) {
                self.extension("the link to what was seen of this ledger before", &longest, &head).await?;
            }
        }
        history.add(head);
        Ok(())
    }

    /// What shows that of two logs the longer extends the shorter.
    pub(crate) async fn extension(
        &self,
        what: &str,
        one: &Checkpoint,
        other: &Checkpoint,
    ) -> Result<Extension, ClientError> {
        let (one, other) = ((one.log_size, one.log_root), (other.log_size, other.log_root));
        let (from, to) = (one.0.min(other.0), one.0.max(other.0));
        let path = format!("/v1/consistency?from={from}&to={to}");
        let check = |bytes: Vec<u8>| {
            let extension: Extension = decode(&bytes)?;
            let linked = extension.links(one, other);
            linked.then_some(extension).ok_or_else(|| Miss::disbelieve(FinalityError::Extension))
        };
        self.nodes.ask(what, || Question::get(&path), check).await
    }
}

/// Heights, times and sizes rise together; blocks of one height, and logs of one size, are the same.
fn check_order(one: &Checkpoint, other: &Checkpoint) -> Result<(), ClientError> {
    let order = one.height.cmp(&other.height);
    let sizes = one.log_size.cmp(&other.log_size);
    let reason = if order.is_eq() && one != other {
        "two different blocks of the same height are certified"
    } else if one.time_ms.cmp(&other.time_ms) != order || !(sizes == order || sizes.is_eq()) {
        "a later block has an earlier time, or a shorter log"
    } else if sizes.is_eq() && one.log_root != other.log_root {
        "two different logs of the same length are certified"
    } else {
        return Ok(());
    };
    Err(ClientError::OtherHistory { reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(height: u64, log_size: u64, root: u8) -> Checkpoint {
        Checkpoint { height, time_ms: height * 10, log_size, log_root: Digest([root; 32]) }
    }

    #[test]
    fn heads_that_contradict_each_other_are_told_apart() {
        assert!(check_order(&head(1, 1, 1), &head(1, 1, 1)).is_ok());
        assert!(check_order(&head(1, 1, 1), &head(2, 1, 1)).is_ok());
        assert!(check_order(&head(2, 5, 2), &head(1, 1, 1)).is_ok());
        for (one, other) in [
            (head(1, 1, 1), head(1, 1, 2)),
            (head(1, 1, 1), head(1, 2, 2)),
            (head(1, 2, 1), head(2, 1, 2)),
            (head(1, 2, 1), head(2, 2, 2)),
            (head(1, 1, 1), Checkpoint { time_ms: 10, ..head(2, 2, 2) }),
        ] {
            assert!(check_order(&one, &other).is_err() && check_order(&other, &one).is_err(), "{one:?} {other:?}");
        }
    }

    #[test]
    fn the_longest_is_kept_and_memory_is_bounded() {
        let mut history = History::default();
        for size in 1..=2 * ROOTS_MAX as u64 {
            history.add(head(size, size, 1));
        }
        history.add(head(3, 3, 1));
        assert_eq!(history.longest(), Some(&head(512, 512, 1)));
        assert!(history.roots.len() <= ROOTS_MAX && history.knows(&head(512, 512, 1)));
        assert!(!history.knows(&head(512, 512, 2)));
    }
}

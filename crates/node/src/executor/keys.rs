//! Asks the custodians of a task's objects for their shares: all of them at once, t good ones suffice.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use custody::{
    ReleaseCollector, ReleasedKeys,
    wire::{FromCustodian, ReleasedShare, ToCustodian},
};
use futures::{StreamExt, stream::FuturesUnordered};
use model::{Canonical, FailureClass, NodeId, api::Phase};

use super::{Executor, Failure, Run};
use crate::peers::{NoAnswer, Reply};

/// How long custodians are asked: they may be starting, or a block behind.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause before one of them is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a custodian gave nothing.
#[derive(Debug, thiserror::Error)]
enum NoShare {
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("its answer cannot be read")]
    Undecodable(#[from] model::EncodingError),
    #[error("rule {rule}: {reason}")]
    Refused { rule: String, reason: String },
    #[error("it answers something else than was asked")]
    Unexpected,
}

type Collecting = Mutex<ReleaseCollector>;

fn lock(collector: &Collecting) -> MutexGuard<'_, ReleaseCollector> {
    collector.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Half of the time that is left is kept for what the keys are for, so that custodians who are silent are named in time.
fn patience(left: Duration) -> Duration {
    PATIENCE.min(left / 2)
}

impl Executor {
    /// The content keys of the task, released to this node by the custodians of its objects.
    pub(super) async fn keys(&self, run: &Run) -> Result<ReleasedKeys, Failure> {
        let failed = |cause| Failure::new(FailureClass::Keys, cause);
        let collector = ReleaseCollector::new(*self.chain.network_id(), &run.task, &run.assignment, &run.objects);
        let collector = Collecting::new(collector.map_err(|cause| failed(Box::new(cause) as Box<_>))?);
        let patience = patience(run.until.saturating_duration_since(Instant::now()));
        // Whether that was enough says the collector.
        let _ = tokio::time::timeout(patience, self.ask_all(run, &collector)).await;
        let collector = collector.into_inner().unwrap_or_else(PoisonError::into_inner);
        for liar in collector.liars() {
            tracing::warn!(task = %run.id(), custodian = %liar.custodian, fault = %liar.fault, "a custodian sent a wrong share");
        }
        let keys = collector.finish().map_err(|cause| failed(Box::new(cause)))?;
        self.progress.note(run.id(), Phase::Released, &format!("{} shares", keys.releases.len()));
        Ok(keys)
    }

    /// Whether the verdict that this node was drawn with holds no more: custodians release nothing then (R7), and the sooner
    /// the ledger is told, the sooner it draws somebody else.
    fn verdict_ended(&self, run: &Run) -> bool {
        let verdict = self.index.places().verdict(&run.assignment.get().verdict);
        verdict.is_some_and(|verdict| verdict.expires_ms <= self.index.tip().time_ms)
    }

    /// Asks everybody who holds a missing share, until there are enough or everybody has answered.
    async fn ask_all(&self, run: &Run, collector: &Collecting) {
        let custodians = lock(collector).custodians();
        let asked = custodians.into_iter().map(|custodian| self.ask_until_answered(run, custodian, collector));
        let mut asked: FuturesUnordered<_> = asked.collect();
        let mut attested = false;
        while let Some(good) = asked.next().await {
            if good > 0 && !attested {
                attested = true;
                self.progress.note(run.id(), Phase::Attested, "custodians appraised the executor");
            }
            if lock(collector).is_complete() {
                return;
            }
        }
    }

    /// Asks one custodian until it releases something, or can no more. Returns how many of its shares were good.
    async fn ask_until_answered(&self, run: &Run, custodian: NodeId, collector: &Collecting) -> usize {
        loop {
            match self.ask(custodian, collector).await {
                Ok(shares) => return lock(collector).accept(custodian, shares),
                Err(cause) => {
                    tracing::info!(task = %run.id(), %custodian, error = %crate::chain_of(&cause), "no share");
                }
            }
            if self.verdict_ended(run) {
                return 0;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Hello, nonce, signed request, shares.
    async fn ask(&self, custodian: NodeId, collector: &Collecting) -> Result<Vec<ReleasedShare>, NoShare> {
        let hello = ToCustodian::Hello(lock(collector).hello());
        let nonce = match self.say(custodian, &hello).await? {
            FromCustodian::Nonce(nonce) => nonce,
            other => return Err(refused(other)),
        };
        let request = lock(collector).request(&self.identity, custodian, nonce);
        match self.say(custodian, &ToCustodian::Request(Box::new(request))).await? {
            FromCustodian::Released(shares) => Ok(shares),
            other => Err(refused(other)),
        }
    }

    /// One message and its answer; this node may be a custodian itself.
    async fn say(&self, custodian: NodeId, message: &ToCustodian) -> Result<FromCustodian, NoShare> {
        let message = message.to_bytes();
        let answer = if custodian == self.identity.node_id() {
            match self.custody.answer(custodian, &message).await {
                Reply::Custody(answer) => answer.0,
                _ => return Err(NoShare::Unexpected),
            }
        } else {
            self.peers.custody(custodian, message).await?
        };
        Ok(FromCustodian::from_bytes(&answer, FromCustodian::BYTES_MAX)?)
    }
}

fn refused(answer: FromCustodian) -> NoShare {
    match answer {
        FromCustodian::Refused { rule, reason } => NoShare::Refused { rule, reason },
        _ => NoShare::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_custodians_are_named_before_the_deadline() {
        let asked = |left_ms| patience(Duration::from_millis(left_ms)).as_millis();
        assert_eq!(asked(600_000), 20_000);
        assert_eq!(asked(30_000), 15_000);
        assert_eq!(asked(1_000), 500);
        assert_eq!(asked(0), 0);
    }
}

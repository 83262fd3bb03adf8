//! Asks the custodians of a task's objects for their shares: all of them at once, t good ones suffice.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use custody::{
    ReleaseCollector, ReleasedKeys,
    wire::{FromCustodian, ReleasedShare, ToCustodian},
};
use futures::{StreamExt, stream::FuturesUnordered};
use model::{Canonical, FailureClass, NodeId, api::Phase};

use super::{Executor, Failure, Run};
use crate::peers::{NoAnswer, Reply};

/// Rounds of asking: custodians may be starting, or a block behind.
const ROUNDS_MAX: u32 = 20;
/// Pause between rounds.
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

impl Executor {
    /// The content keys of the task, released to this node by the custodians of its objects.
    pub(super) async fn keys(&self, run: &Run) -> Result<ReleasedKeys, Failure> {
        let failed = |cause| Failure::new(FailureClass::Keys, cause);
        let collector = ReleaseCollector::new(*self.chain.network_id(), &run.task, &run.assignment, &run.objects);
        let collector = Mutex::new(collector.map_err(|cause| failed(Box::new(cause) as Box<_>))?);
        for round in 0..ROUNDS_MAX {
            if round > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            if self.ask_round(run, &collector).await || self.verdict_ended(run) {
                break;
            }
        }
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
        let verdict = self.index.facts().verdict(&run.assignment.get().verdict);
        verdict.is_some_and(|verdict| verdict.expires_ms <= self.index.tip().time_ms)
    }

    /// Asks everybody who holds a missing share. Returns whether there are enough now.
    async fn ask_round(&self, run: &Run, collector: &Mutex<ReleaseCollector>) -> bool {
        let lock = || collector.lock().unwrap_or_else(PoisonError::into_inner);
        let custodians = lock().custodians();
        let mut asked: FuturesUnordered<_> = custodians
            .into_iter()
            .map(|custodian| async move { (custodian, self.ask(custodian, collector).await) })
            .collect();
        let mut attested = false;
        while let Some((custodian, answer)) = asked.next().await {
            match answer {
                Ok(shares) => {
                    let good = lock().accept(custodian, shares);
                    if good > 0 && !attested {
                        attested = true;
                        self.progress.note(run.id(), Phase::Attested, "custodians appraised the executor");
                    }
                }
                Err(cause) => {
                    tracing::info!(task = %run.id(), %custodian, error = %crate::chain_of(&cause), "no share");
                }
            }
            if lock().is_complete() {
                return true;
            }
        }
        false
    }

    /// Hello, nonce, signed request, shares.
    async fn ask(&self, custodian: NodeId, collector: &Mutex<ReleaseCollector>) -> Result<Vec<ReleasedShare>, NoShare> {
        let lock = || collector.lock().unwrap_or_else(PoisonError::into_inner);
        let hello = ToCustodian::Hello(lock().hello());
        let nonce = match self.say(custodian, &hello).await? {
            FromCustodian::Nonce(nonce) => nonce,
            other => return Err(refused(other)),
        };
        let request = lock().request(&self.identity, custodian, nonce);
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

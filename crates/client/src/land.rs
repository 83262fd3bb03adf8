//! Seeing a transaction through: handed in, final, in effect, and never twice.
//!
//! A transaction takes effect at most once, because its nonce does. So it is written down before it is handed in, and
//! whoever was interrupted hands in the same bytes again. It is signed anew only when a certified head shows that its
//! nonce is used and a head no older shows that it is not in effect: then it never will be.
//!
//! What nodes say about a transaction changes nothing about that. One that says it refused may have kept the bytes, so
//! whoever asks for something else instead signs it with the same nonce: of all that was written down for one purpose
//! at most one takes effect.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use custody::AccountKey;
use model::{Action, Signed, Transaction};

use crate::{
    client::{Client, read_state},
    error::ClientError,
};

/// Something to be done once.
pub(crate) trait Intent: Sync {
    /// A few words for people, for example `the task`.
    fn what(&self) -> String;
    /// The action, for a transaction with this nonce.
    fn action(&self, nonce: u64) -> Action;
    /// Where the state shows that `transaction` took effect.
    fn effect_key(&self, transaction: &Signed<Transaction>) -> ledger::Key;
    /// Whether the value there means that it did.
    fn in_effect(&self, transaction: &Signed<Transaction>, value: Option<&[u8]>) -> bool;
    /// Writes the transaction down, before it is handed in.
    fn write_down(&self, transaction: &Signed<Transaction>) -> Result<(), ClientError>;
    /// Others that were written down for the same purpose, the newest last: if one of them takes effect, none may follow.
    fn rivals(&self) -> &[Signed<Transaction>] {
        &[]
    }
    /// What to tell whoever finds one of [`Self::rivals`] in effect.
    fn rival_in_effect(&self, _rival: &Signed<Transaction>) -> ClientError {
        ClientError::Overtaken
    }
}

/// What the ledger shows about a transaction.
enum Standing {
    InEffect,
    Open,
    /// Its nonce belongs to another transaction; the account's next is inside.
    Overtaken(u64),
}

/// Every so many polls the account's nonce is looked at as well.
const POLLS_PER_NONCE: u32 = 16;

/// How often a transaction is signed anew because others of the same account were faster.
pub(crate) const OVERTAKEN_MAX: usize = 8;

/// How long another transaction of the same account is waited for that has the nonce, and how often it is looked for.
const TURN_WAIT: Duration = Duration::from_secs(10);
const TURN_LOOK: Duration = Duration::from_millis(100);

impl Client {
    /// Hands in what `intent` wants, or `earlier`, the transaction written down for it, until it is in effect.
    pub(crate) async fn land(
        &self,
        key: &AccountKey,
        intent: &dyn Intent,
        earlier: Option<Signed<Transaction>>,
    ) -> Result<Signed<Transaction>, ClientError> {
        let mut transaction = match earlier {
            Some(transaction) => match self.standing(intent, &transaction).await? {
                Standing::InEffect => return Ok(transaction),
                Standing::Overtaken(nonce) => self.write_next(key, intent, nonce)?,
                Standing::Open => transaction,
            },
            None => self.write_next(key, intent, self.nonce_beside_rivals(key, intent).await?)?,
        };
        for _ in 0..OVERTAKEN_MAX {
            match self.see_through(intent, &transaction).await? {
                Standing::InEffect => return Ok(transaction),
                Standing::Overtaken(nonce) => transaction = self.write_next(key, intent, nonce)?,
                Standing::Open => break,
            }
        }
        Err(ClientError::Overtaken)
    }

    /// The nonce for a first transaction: that of the rivals that can still take effect, so that it can take effect only
    /// in place of them.
    async fn nonce_beside_rivals(&self, key: &AccountKey, intent: &dyn Intent) -> Result<u64, ClientError> {
        let Some(rival) = intent.rivals().last() else { return Ok(self.account(&key.account()).await?.nonce) };
        match self.standing(intent, rival).await? {
            Standing::InEffect => Err(intent.rival_in_effect(rival)),
            Standing::Overtaken(nonce) => Ok(nonce),
            Standing::Open => Ok(rival.unverified().nonce),
        }
    }

    fn write_next(
        &self,
        key: &AccountKey,
        intent: &dyn Intent,
        nonce: u64,
    ) -> Result<Signed<Transaction>, ClientError> {
        let body = Transaction { account: key.account(), nonce, action: intent.action(nonce) };
        let transaction = key.sign(&self.network.id, body);
        intent.write_down(&transaction)?;
        Ok(transaction)
    }

    async fn see_through(
        &self,
        intent: &dyn Intent,
        transaction: &Signed<Transaction>,
    ) -> Result<Standing, ClientError> {
        let begun = tokio::time::Instant::now();
        while let Err(refused) = self.submit(transaction).await {
            // It may be refused because it is final since, or because another has its nonce. Then the ledger will show which
            // of the two it took; until it does, nothing is signed anew.
            match self.standing(intent, transaction).await? {
                Standing::Open if !matches!(refused, ClientError::NonceTaken { .. }) => return Err(refused),
                Standing::Open if begun.elapsed() > TURN_WAIT => {
                    return Err(ClientError::OutOfTurn { waited_s: TURN_WAIT.as_secs() });
                }
                Standing::Open => tokio::time::sleep(TURN_LOOK).await,
                standing => return Ok(standing),
            }
        }
        // Almost always it takes effect in the next block: that is asked for alone, the nonce only now and then.
        let polls = AtomicU32::new(0);
        self.until_final(&intent.what(), || async {
            if polls.fetch_add(1, Relaxed) % POLLS_PER_NONCE != POLLS_PER_NONCE - 1 {
                let (_, value) = self.state(&intent.what(), intent.effect_key(transaction)).await?;
                return Ok(intent.in_effect(transaction, value.as_deref()).then_some(Standing::InEffect));
            }
            Ok(match self.standing(intent, transaction).await? {
                Standing::Open => None,
                standing => Some(standing),
            })
        })
        .await
    }

    async fn standing(&self, intent: &dyn Intent, transaction: &Signed<Transaction>) -> Result<Standing, ClientError> {
        let body = transaction.unverified();
        let what = intent.what();
        let (head, value) = self.state(&what, ledger::key::account(&body.account)).await?;
        let account: ledger::state::AccountState = match value {
            None => Default::default(),
            Some(bytes) => read_state(&bytes)?,
        };
        let (effect_head, value) = self.state(&what, intent.effect_key(transaction)).await?;
        if intent.in_effect(transaction, value.as_deref()) {
            return Ok(Standing::InEffect);
        }
        if account.nonce <= body.nonce || effect_head.height() < head.height() {
            return Ok(Standing::Open);
        }
        for rival in intent.rivals() {
            let (rival_head, value) = self.state(&what, intent.effect_key(rival)).await?;
            if intent.in_effect(rival, value.as_deref()) {
                return Err(intent.rival_in_effect(rival));
            }
            if rival_head.height() < head.height() {
                return Ok(Standing::Open);
            }
        }
        Ok(Standing::Overtaken(account.nonce))
    }
}

//! An account: its balance, and free credits on development networks.

use custody::AccountKey;
use ledger::state::AccountState;
use model::{AccountId, Action, Signed, Transaction, api::TransactionStatus};

use crate::{
    client::{Client, read_state},
    error::ClientError,
    nodes::{Question, decode},
};

impl Client {
    /// An account's balance and next nonce. An account nobody ever paid has neither.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn account(&self, account: &AccountId) -> Result<AccountState, ClientError> {
        let (_, value) = self.state("the account", ledger::key::account(account)).await?;
        match value {
            None => Ok(AccountState::default()),
            Some(bytes) => read_state(&bytes),
        }
    }

    /// Draws free credits on a development network; returns the account as it is then.
    ///
    /// # Errors
    /// [`ClientError::Refused`] on networks without free credits, or if too many are asked for.
    pub async fn top_up(&self, key: &AccountKey, amount: u64) -> Result<AccountState, ClientError> {
        self.check_extension().await?;
        let nonce = self.account(&key.account()).await?.nonce;
        let body = Transaction { account: key.account(), nonce, action: Action::TopUp { amount } };
        let transaction = key.sign(&self.network.id, body);
        self.submit(&transaction).await?;
        self.until_used(&transaction).await
    }

    /// Waits until the nonce of a transaction is used at a certified head.
    async fn until_used(&self, transaction: &Signed<Transaction>) -> Result<AccountState, ClientError> {
        let body = transaction.unverified();
        let account = self
            .until_final("the transaction", || async {
                let account = self.account(&body.account).await?;
                Ok((account.nonce > body.nonce).then_some(account))
            })
            .await?;
        // Which transaction used the nonce is not in the state; here a node's word is enough, for nothing rests on it.
        let path = format!("/v1/transactions/{}", transaction.id());
        let status = self
            .nodes
            .ask("the transaction", || Question::get(&path), |bytes| decode::<TransactionStatus>(&bytes))
            .await;
        match status {
            Ok(TransactionStatus::Unknown) | Err(ClientError::Unknown { .. }) => Err(ClientError::Overtaken),
            _ => Ok(account),
        }
    }
}

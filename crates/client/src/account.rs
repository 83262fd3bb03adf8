//! An account: its balance, and free credits on development networks.

use custody::AccountKey;
use ledger::state::AccountState;
use model::{AccountId, Action, Transaction};

use crate::{
    client::{Client, read_state},
    error::ClientError,
    land::OVERTAKEN_MAX,
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
        for _ in 0..OVERTAKEN_MAX {
            let before = self.account(&key.account()).await?;
            let body = Transaction { account: key.account(), nonce: before.nonce, action: Action::TopUp { amount } };
            let taken = match self.submit(&key.sign(&self.network.id, body)).await {
                Ok(()) => true,
                Err(ClientError::NonceTaken { .. }) => false,
                Err(refused) => return Err(refused),
            };
            let after = self
                .until_final("the transaction", || async {
                    let account = self.account(&key.account()).await?;
                    Ok((account.nonce > before.nonce).then_some(account))
                })
                .await?;
            // Which transaction has used the nonce is not in the state; one that adds nothing was another. At worst free
            // credits are drawn twice.
            if taken && after.balance > before.balance {
                return Ok(after);
            }
        }
        Err(ClientError::Overtaken)
    }
}

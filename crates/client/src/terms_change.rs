//! Changing the terms of an object, or withdrawing it.

use custody::AccountKey;
use ledger::state::ObjectState;
use model::{Action, Allow, Canonical as _, ObjectId, Signed, Terms, Transaction};

use crate::{
    client::{Client, read_state},
    error::ClientError,
    land::Intent,
    terms::TermsDraft,
};

impl Client {
    /// Replaces the terms of an object of this account.
    ///
    /// # Errors
    /// [`ClientError::NotOwner`], [`ClientError::Refused`] and the rest.
    pub async fn set_terms(
        &self,
        key: &AccountKey,
        object: &ObjectId,
        draft: TermsDraft,
    ) -> Result<Terms, ClientError> {
        let serial = self.next_serial(key, object).await?;
        self.put_terms(key, draft.into_terms(*object, key.account(), serial)).await
    }

    /// Withdraws an object of this account for good.
    ///
    /// # Errors
    /// [`ClientError::NotOwner`], [`ClientError::Refused`] and the rest.
    pub async fn revoke(&self, key: &AccountKey, object: &ObjectId) -> Result<Terms, ClientError> {
        let serial = self.next_serial(key, object).await?;
        let draft = TermsDraft {
            requesters: Allow::Only(Vec::new()),
            counterparts: Allow::Only(Vec::new()),
            ..TermsDraft::default()
        };
        let terms = draft.into_terms(*object, key.account(), serial);
        self.put_terms(key, Terms { revoked: true, ..terms }).await
    }

    async fn next_serial(&self, key: &AccountKey, object: &ObjectId) -> Result<u64, ClientError> {
        let (_, state) = self.object(object).await?;
        if state.owner == key.account() {
            Ok(state.terms_serial + 1)
        } else {
            Err(ClientError::NotOwner { object: *object })
        }
    }

    async fn put_terms(&self, key: &AccountKey, terms: Terms) -> Result<Terms, ClientError> {
        let signed = key.sign(&self.network.id, terms);
        self.land(key, &NewTerms { terms: signed.clone() }, None).await?;
        Ok(signed.into_unverified())
    }
}

struct NewTerms {
    terms: Signed<Terms>,
}

impl Intent for NewTerms {
    fn what(&self) -> String {
        format!("the terms of {}", self.terms.unverified().object)
    }

    fn action(&self, _nonce: u64) -> Action {
        Action::SetTerms { terms: Box::new(self.terms.clone()) }
    }

    fn effect_key(&self, _: &Signed<Transaction>) -> ledger::Key {
        ledger::key::object(&self.terms.unverified().object)
    }

    fn in_effect(&self, _: &Signed<Transaction>, value: Option<&[u8]>) -> bool {
        let state = value.and_then(|value| read_state::<ObjectState>(value).ok());
        state.is_some_and(|state| state.terms_digest == self.terms.digest())
    }

    fn write_down(&self, _: &Signed<Transaction>) -> Result<(), ClientError> {
        // Nothing is paid but a fee, and a second run of the command finds the new serial.
        Ok(())
    }
}

//! Transactions: sending one, and what became of it.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::HeaderMap,
};
use consensus::SubmitError;
use ledger::Refusal;
use model::{Canonical, Digest, Signed, Transaction, api::TransactionStatus};
use serde::Deserialize;

use super::{
    Api,
    answer::{Answer, Body, Form, Query, Refused},
    list::parse,
};
use crate::chain::Inadmissible;

/// Longest wait for an answer that is not there yet.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Takes a signed transaction and answers with its id. Refused with the rule if the rules forbid it now.
pub(crate) async fn submit(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Body(transaction): Body<Signed<Transaction>>,
) -> Answer {
    let bytes = transaction.to_bytes();
    let id = Digest::of(&bytes);
    if api.chain.consensus().status(&id) == TransactionStatus::Unknown {
        take(&api, bytes).await?;
    }
    Ok(Form::accepted(&headers).answer(&id))
}

async fn take(api: &Api, bytes: Vec<u8>) -> Result<(), Refused> {
    match api.chain.admit(&bytes).await {
        Ok(()) => {}
        Err(Inadmissible::Refused(refusal)) => return Err(refusal.into()),
        Err(Inadmissible::Chain(cause)) => return Err(cause.into()),
        Err(cause) => return Err(Refused::internal(&cause)),
    }
    api.chain.submit(bytes)?;
    Ok(())
}

impl From<Refusal> for Refused {
    fn from(cause: Refusal) -> Self {
        match cause {
            Refusal::Nonce { .. } => Self::out_of_turn(cause.to_string(), cause.hint()),
            _ => Self::forbidden(cause.to_string(), cause.hint()),
        }
    }
}

impl From<SubmitError> for Refused {
    fn from(cause: SubmitError) -> Self {
        let error = crate::chain_of(&cause);
        match cause {
            SubmitError::NonceTaken { .. } => Self::out_of_turn(error, "wait until it is final, or use the next nonce"),
            SubmitError::Refused(_) | SubmitError::TooLong { .. } => Self::forbidden(error, "nothing was kept of it"),
            _ => Self::unavailable(error),
        }
    }
}

/// `?wait=final`
#[derive(Deserialize)]
pub(crate) struct Wait {
    wait: Option<Until>,
}

/// What to wait for.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Until {
    Final,
}

/// What became of a transaction. With `?wait=final`, waits up to ten seconds for it to be in a block.
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    query: Query<Wait>,
) -> Answer {
    let id: Digest = parse(&id)?;
    let status = || api.chain.consensus().status(&id);
    if query.wait == Some(Until::Final) {
        api.index.until(WAIT_MAX, |_| matches!(status(), TransactionStatus::Final { .. })).await;
    }
    Ok(Form::accepted(&headers).answer(&status()))
}

#[cfg(test)]
mod tests {
    use axum::{http::StatusCode, response::IntoResponse};
    use model::AccountId;

    use super::*;

    #[test]
    fn the_status_says_whether_to_wait_to_change_or_to_ask_another() {
        let account = AccountId([1; 32]);
        let status = |refused: Refused| refused.into_response().status();
        assert_eq!(status(Refusal::Nonce { account, expected: 71, got: 70 }.into()), StatusCode::CONFLICT);
        assert_eq!(status(SubmitError::NonceTaken { nonce: 70 }.into()), StatusCode::CONFLICT);
        let poor = Refusal::Balance { account, available: 1, needed: 2 };
        assert_eq!(status(poor.into()), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(status(SubmitError::TooLong { bytes: 1 << 20 }.into()), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(status(SubmitError::Full.into()), StatusCode::SERVICE_UNAVAILABLE);
    }
}

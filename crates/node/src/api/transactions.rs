//! Transactions: sending one, and what became of it.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::HeaderMap,
};
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
        Err(Inadmissible::Refused(refusal)) => {
            return Err(Refused::forbidden(refusal.to_string(), refusal.hint()));
        }
        Err(Inadmissible::Chain(cause)) => return Err(cause.into()),
        Err(cause) => return Err(Refused::internal(&cause)),
    }
    api.chain.submit(bytes).map_err(|cause| Refused::unavailable(crate::chain_of(&cause)))?;
    Ok(())
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

//! The ledger itself: genesis, heads, extensions, raw records and live state, each with its proof.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::HeaderMap,
};
use model::{
    Digest,
    api::{Extension, NodeStatus, ProvenExtension},
};
use serde::Deserialize;

use super::{
    Api,
    answer::{Answer, Form, Query, Refused},
    list::{Indices, parse},
};

/// The genesis of the network; its digest is the network id.
pub(crate) async fn genesis(State(api): State<Arc<Api>>, headers: HeaderMap) -> Answer {
    Ok(Form::accepted(&headers).answer(&**api.chain.genesis()))
}

/// How this node introduces itself. For showing only: nothing of it is proven.
pub(crate) async fn status(State(api): State<Arc<Api>>, headers: HeaderMap) -> Answer {
    let tip = api.index.tip();
    let verdict_expires_ms = {
        let places = api.index.places();
        places.node(&api.node).and_then(|node| node.verdict).map(|verdict| verdict.expires_ms)
    };
    let status = NodeStatus {
        node: api.node,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        height: tip.height,
        time_ms: tip.time_ms,
        verdict_expires_ms,
        peers: api.peers.connected(),
        running: api.executor.running(),
    };
    Ok(Form::accepted(&headers).answer(&status))
}

/// The latest certified head.
pub(crate) async fn head(State(api): State<Arc<Api>>, headers: HeaderMap) -> Answer {
    let head = api.chain.certified().await?;
    Ok(Form::accepted(&headers).answer(&head))
}

/// `?from=N`
#[derive(Deserialize)]
pub(crate) struct From {
    from: u64,
}

/// That the log of the latest certified head extends the log of `from` records.
pub(crate) async fn extension(State(api): State<Arc<Api>>, headers: HeaderMap, query: Query<From>) -> Answer {
    let proven: ProvenExtension = api.chain.prove_extension(query.from).await?;
    Ok(Form::accepted(&headers).answer(&proven))
}

/// `?from=N&to=M`
#[derive(Deserialize)]
pub(crate) struct Span {
    from: u64,
    to: u64,
}

/// That the log of `to` records extends the log of `from` records, for whoever has a certified head of each.
pub(crate) async fn consistency(State(api): State<Arc<Api>>, headers: HeaderMap, query: Query<Span>) -> Answer {
    if query.from > query.to {
        return Err(Refused::malformed(format!("from {} is above to {}", query.from, query.to)));
    }
    let extension: Extension = api.chain.prove_growth(query.from, query.to)?;
    Ok(Form::accepted(&headers).answer(&extension))
}

/// Records by their places in the log, with one proof for all of them.
pub(crate) async fn records(State(api): State<Arc<Api>>, headers: HeaderMap, query: Query<Indices>) -> Answer {
    api.proven(&headers, query.parse()?).await
}

/// One value of the live state or its absence, with a proof against the latest certified head.
pub(crate) async fn state(State(api): State<Arc<Api>>, headers: HeaderMap, Path(key): Path<String>) -> Answer {
    let key: Digest = parse(&key)?;
    let proven = api.chain.prove_state(key.0).await?;
    Ok(Form::accepted(&headers).answer(&proven))
}

//! Content in: uploads as CAR, acknowledgements of storage, deposits of shares.

use std::{io, sync::Arc, time::Duration};

use axum::{
    body::Body as HttpBody,
    extract::{Path, State},
    http::HeaderMap,
};
use content::{FetchError, StoreError, UnixFsError, car::CarError};
use futures::StreamExt;
use model::{
    ContentId, NodeId,
    api::{DepositRequest, Uploaded},
};
use serde::Deserialize;

use super::{
    Api,
    answer::{Answer, Body, Form, Query, Refused},
    list::parse,
};
use crate::{
    custodian::{DepositRefused, Failed},
    peers::NoAnswer,
    storage::NotStored,
};

/// Most bytes of one upload: 64 GiB of file and its vertices.
pub(crate) const UPLOAD_BYTES_MAX: u64 = 65 << 30;

/// Longest pause within an upload: whoever sends nothing holds a turn.
const UPLOAD_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Stores the blocks of a CAR (version 1). Streamed: memory does not grow with its size.
pub(crate) async fn upload(State(api): State<Arc<Api>>, headers: HeaderMap, body: HttpBody) -> Answer {
    let Ok(_turn) = api.turns.uploads.try_acquire() else {
        return Err(Refused::unavailable("this node receives as many uploads as it takes at a time"));
    };
    let mut data = body.into_data_stream();
    let pieces = async_stream::stream! {
        loop {
            match tokio::time::timeout(UPLOAD_PAUSE_MAX, data.next()).await {
                Ok(Some(piece)) => yield piece.map_err(io::Error::other),
                Ok(None) => return,
                Err(_) => {
                    yield Err(io::ErrorKind::TimedOut.into());
                    return;
                }
            }
        }
    };
    // Nothing is pinned before somebody acknowledges it: what is larger than the cache would not stay until then.
    let bytes_max = UPLOAD_BYTES_MAX.min(api.content.store().cache_bytes_max());
    let received = content::car::receive(api.content.store(), pieces.boxed(), bytes_max).await;
    let received = received.map_err(|cause| not_received(&cause))?;
    let Some((root, bytes)) = received.roots.first().copied() else {
        return Err(Refused::malformed("the CAR names no root"));
    };
    for (root, _) in &received.roots {
        api.content.announce(root).await;
    }
    Ok(Form::accepted(&headers).answer(&Uploaded { root, blocks: received.blocks, bytes }))
}

/// Whose fault it is. What this node's disk says is for its log: it names folders.
fn not_received(cause: &CarError) -> Refused {
    match cause {
        CarError::Store(StoreError::Full { .. } | StoreError::DiskFull { .. }) => {
            Refused::unavailable("this node has no room for more content")
        }
        CarError::Store(_) | CarError::Root(UnixFsError::Store(_)) => Refused::internal(cause),
        _ => {
            Refused::forbidden(crate::chain_of(cause), "upload a CAR v1 made by `samovar publish` or `ipfs dag export`")
        }
    }
}

/// `?node=did:key:…`
#[derive(Deserialize)]
pub(crate) struct Storer {
    node: Option<String>,
}

/// Fetches every block under a CID from whoever has it, keeps it, and signs a storage acknowledgement; or asks the node
/// that is named to do so, for those who do not know its address.
pub(crate) async fn acknowledge(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(cid): Path<String>,
    query: Query<Storer>,
) -> Answer {
    let root: ContentId = parse(&cid)?;
    let storer = query.node.as_deref().map(parse::<NodeId>).transpose()?;
    if let Some(storer) = storer.filter(|storer| *storer != api.node) {
        if api.chain.genesis().validator(&storer).is_none() {
            return Err(Refused::unknown(format!("{storer} is no node of this network")));
        }
        return match api.peers.store_for_stranger(storer, root).await {
            Ok(ack) => Ok(Form::accepted(&headers).answer(&ack)),
            Err(cause) => Err(Refused::unavailable(cause.to_string())),
        };
    }
    match api.storage.acknowledge(root).await {
        Ok(ack) => Ok(Form::accepted(&headers).answer(&ack)),
        Err(cause @ NotStored::Fetch(FetchError::Store(_))) => Err(Refused::internal(&cause)),
        Err(cause @ (NotStored::Fetch(_) | NotStored::Busy)) => Err(Refused::unavailable(crate::chain_of(&cause))),
        Err(cause) => Err(Refused::internal(&cause)),
    }
}

/// Takes a share of an object's key into custody and acknowledges it once it is on disk. A share for another node is handed
/// on to it: only that node can open it, and its acknowledgement is signed.
pub(crate) async fn deposit(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Body(request): Body<DepositRequest>,
) -> Answer {
    let position = usize::from(request.index).checked_sub(1);
    let holder =
        position.and_then(|position| request.deposit.unverified().custodians.get(position)).map(|holder| holder.node);
    if let Some(holder) = holder.filter(|holder| *holder != api.node && api.chain.genesis().validator(holder).is_some())
    {
        return hand_on(&api, &headers, holder, request).await;
    }
    match api.custodian.deposit(request).await {
        Ok(ack) => Ok(Form::accepted(&headers).answer(&ack)),
        Err(DepositRefused::Rule(rule)) => {
            Err(Refused::forbidden(rule.to_string(), "the custodian checks a deposit before it acknowledges it"))
        }
        Err(DepositRefused::Failed(Failed::Chain(cause))) => Err(cause.into()),
        Err(cause) => Err(Refused::internal(&cause)),
    }
}

async fn hand_on(api: &Api, headers: &HeaderMap, holder: NodeId, request: DepositRequest) -> Answer {
    match api.peers.deposit(holder, request).await {
        Ok(ack) => Ok(Form::accepted(headers).answer(&ack)),
        Err(NoAnswer::Refused(_, reason)) => {
            Err(Refused::forbidden(reason, "the custodian checks a deposit before it acknowledges it"))
        }
        Err(cause) => Err(Refused::unavailable(cause.to_string())),
    }
}

//! Content in: uploads as CAR, acknowledgements of storage, deposits of shares.

use std::sync::Arc;

use axum::{
    body::Body as HttpBody,
    extract::{Path, State},
    http::HeaderMap,
};
use futures::StreamExt;
use model::{
    ContentId,
    api::{DepositRequest, Uploaded},
};

use super::{
    Api,
    answer::{Answer, Body, Form, Refused},
    list::parse,
};
use crate::{custodian::DepositRefused, storage::NotStored};

/// Most bytes of one upload: 64 GiB of file and its vertices.
pub(crate) const UPLOAD_BYTES_MAX: u64 = 65 << 30;

/// Stores the blocks of a CAR (version 1). Streamed: memory does not grow with its size.
#[utoipa::path(
    post, path = "/v1/content", tag = "content",
    request_body(content_type = "application/vnd.ipld.car", description = "CAR v1 whose roots are whole UnixFS files or single blocks"),
    responses((status = 200, description = "Uploaded"), (status = 422, description = "Problem"))
)]
pub(crate) async fn upload(State(api): State<Arc<Api>>, headers: HeaderMap, body: HttpBody) -> Answer {
    let pieces = body.into_data_stream().map(|piece| piece.map_err(std::io::Error::other)).boxed();
    let received = content::car::receive(api.content.store(), pieces, UPLOAD_BYTES_MAX).await.map_err(|cause| {
        Refused::forbidden(crate::chain_of(&cause), "upload a CAR v1 made by `samovar publish` or `ipfs dag export`")
    })?;
    let Some((root, bytes)) = received.roots.first().copied() else {
        return Err(Refused::malformed("the CAR names no root"));
    };
    for (root, _) in &received.roots {
        api.content.announce(root).await;
    }
    Ok(Form::accepted(&headers).answer(&Uploaded { root, blocks: received.blocks, bytes }))
}

/// Fetches every block under a CID from whoever has it, keeps it, and signs a storage acknowledgement.
#[utoipa::path(
    post, path = "/v1/content/{cid}/acknowledge", tag = "content",
    params(("cid" = String, Path, description = "root of the content")),
    responses((status = 200, description = "Signed<StorageAck>"), (status = 503, description = "Problem"))
)]
pub(crate) async fn acknowledge(State(api): State<Arc<Api>>, headers: HeaderMap, Path(cid): Path<String>) -> Answer {
    let root: ContentId = parse(&cid)?;
    match api.storage.acknowledge(root).await {
        Ok(ack) => Ok(Form::accepted(&headers).answer(&ack)),
        Err(cause @ NotStored::Fetch(_)) => Err(Refused::unavailable(crate::chain_of(&cause))),
        Err(cause) => Err(Refused::internal(&cause)),
    }
}

/// Takes a share of an object's key into custody and acknowledges it once it is on disk.
#[utoipa::path(
    post, path = "/v1/deposits", tag = "objects",
    responses((status = 200, description = "Signed<DepositAck>"), (status = 422, description = "Problem"))
)]
pub(crate) async fn deposit(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Body(request): Body<DepositRequest>,
) -> Answer {
    match api.custodian.deposit(request).await {
        Ok(ack) => Ok(Form::accepted(&headers).answer(&ack)),
        Err(DepositRefused::Rule(rule)) => {
            Err(Refused::forbidden(rule.to_string(), "the custodian checks a deposit before it acknowledges it"))
        }
        Err(cause) => Err(Refused::internal(&cause)),
    }
}

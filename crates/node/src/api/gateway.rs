//! The trustless gateway (IPFS specifications, http-gateways/trustless-gateway): raw blocks and CARs by CID, for
//! browsers, curl and any IPFS client. Serves what this node has; fetches nothing for strangers.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use content::car;
use futures::TryStreamExt;
use model::ContentId;
use serde::Deserialize;

use super::{
    Api,
    answer::{Answer, Query, Refused},
    list::parse,
};

const RAW: &str = "application/vnd.ipld.raw";

/// `?format=raw|car`
#[derive(Deserialize)]
pub(crate) struct Wanted {
    format: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Raw,
    Car,
}

impl Format {
    /// The query wins over the `Accept` header, as the specification has it.
    fn wanted(query: Option<&str>, headers: &HeaderMap) -> Result<Self, Refused> {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match query {
            Some("raw") => Ok(Self::Raw),
            Some("car") => Ok(Self::Car),
            Some(other) => Err(Refused::malformed(format!("format '{other}' is neither raw nor car"))),
            None if accept.contains(RAW) => Ok(Self::Raw),
            None if accept.contains(car::MEDIA_TYPE) => Ok(Self::Car),
            None => Err(Refused::malformed("this gateway is trustless: ask for ?format=raw or ?format=car")),
        }
    }
}

/// A block, or everything under a CID as a CAR.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(cid): Path<String>,
    query: Query<Wanted>,
) -> Answer {
    let root: ContentId = parse(&cid)?;
    let format = Format::wanted(query.format.as_deref(), &headers)?;
    let etag = match format {
        Format::Raw => format!("\"{root}.raw\""),
        Format::Car => format!("W/\"{root}.car\""),
    };
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let body = match format {
        Format::Raw => raw(&api, root).await?,
        Format::Car => whole(&api, root)?,
    };
    Ok(with_headers(body, format, &root, &etag))
}

async fn raw(api: &Api, root: ContentId) -> Result<Body, Refused> {
    let store = api.content.store().clone();
    let block = tokio::task::spawn_blocking(move || store.get(&root)).await;
    let block = block.map_err(|cause| Refused::internal(&cause))?.map_err(|cause| Refused::internal(&cause))?;
    block.map(|block| Body::from(block.into_data())).ok_or_else(|| not_here(&root))
}

fn whole(api: &Api, root: ContentId) -> Result<Body, Refused> {
    let store = api.content.store();
    if !store.has(&root) {
        return Err(not_here(&root));
    }
    Ok(Body::from_stream(car::export_stream(store, &root).map_err(std::io::Error::other)))
}

fn not_here(root: &ContentId) -> Refused {
    Refused::unknown(format!("this node does not have {root}"))
}

fn with_headers(body: Body, format: Format, root: &ContentId, etag: &str) -> Response {
    let (media_type, ending) = match format {
        Format::Raw => (RAW, "bin"),
        Format::Car => ("application/vnd.ipld.car; version=1; order=dfs; dups=y", "car"),
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let text = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    headers.insert(header::CONTENT_TYPE, text(media_type));
    headers.insert(header::ETAG, text(etag));
    headers.insert(header::CACHE_CONTROL, text("public, max-age=29030400, immutable"));
    headers.insert(header::CONTENT_DISPOSITION, text(&format!("attachment; filename=\"{root}.{ending}\"")));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, text("nosniff"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, text("*"));
    headers.insert("x-ipfs-path", text(&format!("/ipfs/{root}")));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(query: Option<&str>, accept: &'static str) -> Option<Format> {
        let headers = [(header::ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
        Format::wanted(query, &headers).ok()
    }

    #[test]
    fn the_query_wins_over_the_accept_header() {
        assert_eq!(wanted(Some("car"), RAW), Some(Format::Car));
        assert_eq!(wanted(Some("raw"), car::MEDIA_TYPE), Some(Format::Raw));
        assert_eq!(wanted(None, RAW), Some(Format::Raw));
        assert_eq!(wanted(None, "application/vnd.ipld.car; version=1"), Some(Format::Car));
    }

    #[test]
    fn files_in_clear_are_not_served() {
        assert_eq!(wanted(None, "text/html"), None);
        assert_eq!(wanted(Some("tar"), RAW), None);
    }
}

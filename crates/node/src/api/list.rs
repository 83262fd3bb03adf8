//! Listings: objects, tasks and nodes as proven records. The node picks what to show; it cannot invent any of it.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::HeaderMap,
};
use model::{ObjectId, ObjectKind};
use serde::Deserialize;

use super::{
    Api,
    answer::{Answer, Query, Refused},
};

/// Most records in one answer.
pub(crate) const RECORDS_MAX: usize = 256;

/// `?index=1,2,3`
#[derive(Deserialize)]
pub(crate) struct Indices {
    index: String,
}

impl Indices {
    pub(crate) fn parse(&self) -> Result<Vec<u64>, Refused> {
        let indices: Result<Vec<u64>, _> = self.index.split(',').map(str::parse).collect();
        let indices = indices.map_err(|_| Refused::malformed(format!("'{}' is no list of numbers", self.index)))?;
        if indices.len() > RECORDS_MAX {
            return Err(Refused::malformed(format!("{} records asked for, at most {RECORDS_MAX}", indices.len())));
        }
        Ok(indices)
    }
}

/// Which objects.
#[derive(Deserialize)]
pub(crate) struct ObjectQuery {
    kind: Option<ObjectKind>,
    after: Option<String>,
}

/// Published objects in order of their ids: the object record and the latest terms of each.
pub(crate) async fn objects(State(api): State<Arc<Api>>, headers: HeaderMap, query: Query<ObjectQuery>) -> Answer {
    let after = query.after.as_deref().map(parse::<ObjectId>).transpose()?;
    let groups = {
        let listed = api.index.places();
        listed.objects(query.kind, after).take(RECORDS_MAX / 2).map(|(_, entry)| entry.latest().collect()).collect()
    };
    api.listed(&headers, groups).await
}

/// One object: its record and its latest terms.
pub(crate) async fn object(State(api): State<Arc<Api>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    let id: ObjectId = parse(&id)?;
    let indices = api.index.places().object(&id).map(|entry| entry.latest().collect());
    let indices = indices.ok_or_else(|| Refused::unknown(format!("there is no object {id}")))?;
    api.proven(&headers, indices).await
}

/// All nodes: the latest registration and verdict of each.
pub(crate) async fn nodes(State(api): State<Arc<Api>>, headers: HeaderMap) -> Answer {
    let groups = {
        let listed = api.index.places();
        let places = |entry: &crate::places::NodeEntry| {
            std::iter::once(entry.registration).chain(entry.verdict.map(|verdict| verdict.index)).collect()
        };
        listed.nodes().take(RECORDS_MAX / 2).map(|(_, entry)| places(entry)).collect()
    };
    api.listed(&headers, groups).await
}

/// Reads an id out of a path or a query.
pub(crate) fn parse<T: std::str::FromStr<Err = model::IdError>>(text: &str) -> Result<T, Refused> {
    text.parse().map_err(|cause: model::IdError| Refused::malformed(cause.to_string()))
}

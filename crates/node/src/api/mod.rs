//! The HTTP API: one file per resource. What a node says here is never believed; every answer that matters carries its
//! proof, and `client` checks it.

pub(crate) mod answer;
mod chain;
mod content;
mod gateway;
mod list;
pub(crate) mod listener;
mod tasks;
mod transactions;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    handler::Handler,
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use model::{Genesis, NodeId, Record, TaskId, Transaction, api::TaskEvent};
use tokio::sync::Semaphore;

use self::answer::{Answer, Form, Refused, bytes};
use crate::{
    chain::Chain,
    custodian::Custody,
    executor::Executor,
    handles::Handles,
    index::Index,
    metrics::Metrics,
    node::Roles,
    peers::Peers,
    progress::Progress,
    storage::{Content, Storage},
};

/// Most bytes of a request body, uploads apart: a transaction or a deposit as JSON is about twice its canonical form.
const BODY_BYTES_MAX: usize = 4 * Transaction::BYTES_MAX;
const _: () = assert!(BODY_BYTES_MAX < Genesis::BYTES_MAX);

/// Most bytes of records in one answer. Records are up to 192 KiB each, and every answer under way is in memory.
const RECORDS_BYTES_MAX: usize = 8 << 20;

/// Requests answered at a time.
const REQUESTS_MAX: usize = 512;
/// Uploads received at a time.
const UPLOADS_MAX: usize = 16;
/// Streams of events open at a time.
const LISTENERS_MAX: usize = 256;

/// What the handlers need.
pub(crate) struct Api {
    pub(crate) node: NodeId,
    pub(crate) chain: Chain,
    pub(crate) index: Arc<Index>,
    pub(crate) content: Content,
    pub(crate) storage: Arc<Storage>,
    pub(crate) custodian: Arc<Custody>,
    pub(crate) executor: Arc<Executor>,
    pub(crate) peers: Peers,
    pub(crate) progress: Arc<Progress>,
    pub(crate) metrics: Arc<Metrics>,
    turns: RequestTurns,
}

/// How much is done for strangers at a time. Whatever is above is refused, so that a crowd at the API costs the roles of this
/// node neither memory nor threads.
struct RequestTurns {
    requests: Semaphore,
    uploads: Semaphore,
    listeners: Arc<Semaphore>,
}

impl Default for RequestTurns {
    fn default() -> Self {
        Self {
            requests: Semaphore::new(REQUESTS_MAX),
            uploads: Semaphore::new(UPLOADS_MAX),
            listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
        }
    }
}

impl Api {
    /// Answers by what `roles` do and the ledger says.
    pub(crate) fn new(handles: Handles, roles: &Roles) -> Self {
        let Handles { chain, index, content, peers, identity, progress, metrics } = handles;
        let Roles { storage, custody, executor, .. } = roles.clone();
        let node = identity.node_id();
        let turns = RequestTurns::default();
        Self { node, chain, index, content, storage, custodian: custody, executor, peers, progress, metrics, turns }
    }

    /// As many of these groups of records as fit into one answer, from the first, with their proof: for listings.
    async fn listed(&self, headers: &HeaderMap, groups: Vec<Vec<u64>>) -> Answer {
        let bytes_of = |index| self.chain.consensus().record(index).map(|record| record.len());
        let fitting = fitting(&groups, bytes_of).map_err(|cause| Refused::internal(&cause))?;
        self.prove(headers, groups[..fitting].concat()).await
    }

    /// Records with their proof, as an answer; refused if they do not fit into one.
    async fn proven(&self, headers: &HeaderMap, mut indices: Vec<u64>) -> Answer {
        indices.sort_unstable();
        indices.dedup();
        self.check_indices(&indices)?;
        let groups: Vec<Vec<u64>> = indices.iter().map(|index| vec![*index]).collect();
        let bytes_of = |index| self.chain.consensus().record(index).map(|record| record.len());
        let fitting = fitting(&groups, bytes_of).map_err(|cause| Refused::internal(&cause))?;
        if fitting < indices.len() {
            let error = format!("{} records have more than {RECORDS_BYTES_MAX} bytes", indices.len());
            return Err(Refused::forbidden(error, format!("ask for fewer at a time; the first {fitting} fit")));
        }
        self.prove(headers, indices).await
    }

    fn check_indices(&self, indices: &[u64]) -> Result<(), Refused> {
        let size = self.chain.log_size();
        match indices.iter().find(|index| **index >= size) {
            None => Ok(()),
            Some(beyond) => Err(Refused::unknown(format!("the log has {size} records; there is none at {beyond} yet"))),
        }
    }

    async fn prove(&self, headers: &HeaderMap, mut indices: Vec<u64>) -> Answer {
        indices.sort_unstable();
        indices.dedup();
        self.check_indices(&indices)?;
        let proven = self.chain.prove(&indices).await?;
        Ok(Form::accepted(headers).answer(&proven))
    }

    /// The steps of a task that `executor` has noted, from the `from`th on; waits up to `patience` for the first.
    async fn progress_of(&self, executor: NodeId, task: TaskId, from: usize, patience: Duration) -> Vec<TaskEvent> {
        if executor != self.node {
            return self.peers.progress(executor, task, from, patience).await;
        }
        self.progress.wait_since(&task, from, patience).await
    }
}

/// How many of `groups`, from the first, have at most [`RECORDS_BYTES_MAX`] bytes together. A few records are not looked at:
/// they fit whatever they are.
fn fitting<E>(groups: &[Vec<u64>], bytes_of: impl Fn(u64) -> Result<usize, E>) -> Result<usize, E> {
    if groups.iter().map(Vec::len).sum::<usize>() <= RECORDS_BYTES_MAX / Record::BYTES_MAX {
        return Ok(groups.len());
    }
    let mut bytes = 0;
    for (count, group) in groups.iter().enumerate() {
        for index in group {
            bytes += bytes_of(*index)?;
        }
        if bytes > RECORDS_BYTES_MAX {
            return Ok(count);
        }
    }
    Ok(groups.len())
}

/// What is answered, and by whom. `docs/spec/openapi.json` describes it.
struct Route {
    /// In lowercase, as the document names it.
    method: &'static str,
    path: &'static str,
    handler: MethodRouter<Arc<Api>>,
}

fn on_get<T: 'static>(path: &'static str, handler: impl Handler<T, Arc<Api>>) -> Route {
    Route { method: "get", path, handler: get(handler) }
}

fn on_post<T: 'static>(path: &'static str, handler: impl Handler<T, Arc<Api>>) -> Route {
    Route { method: "post", path, handler: post(handler).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)) }
}

/// All routes.
fn routes() -> Vec<Route> {
    // It bounds itself while it streams.
    let upload = post(content::upload).layer(DefaultBodyLimit::disable());
    vec![
        on_get("/v1/genesis", chain::genesis),
        on_get("/v1/status", chain::status),
        on_get("/v1/head", chain::head),
        on_get("/v1/extension", chain::extension),
        on_get("/v1/consistency", chain::consistency),
        on_get("/v1/records", chain::records),
        on_get("/v1/state/{key}", chain::state),
        on_post("/v1/transactions", transactions::submit),
        on_get("/v1/transactions/{id}", transactions::show),
        on_get("/v1/objects", list::objects),
        on_get("/v1/objects/{id}", list::object),
        on_get("/v1/nodes", list::nodes),
        on_get("/v1/tasks", tasks::tasks),
        on_get("/v1/tasks/{id}", tasks::task),
        on_get("/v1/tasks/{id}/proof", tasks::proof),
        on_get("/v1/tasks/{id}/events", tasks::events),
        on_post("/v1/deposits", content::deposit),
        on_post("/v1/content/{cid}/acknowledge", content::acknowledge),
        Route { method: "post", path: "/v1/content", handler: upload },
        on_get("/ipfs/{cid}", gateway::get),
        on_get("/metrics", metrics),
        on_get("/openapi.json", openapi),
    ]
}

/// Answers requests by their routes, and the others with a problem as well.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let add = |router: Router<Arc<Api>>, Route { method, path, handler }: Route| {
        router.route(path, handler.fallback(move || async move { Answer::Err(Refused::method(method)) }))
    };
    routes()
        .into_iter()
        .fold(Router::new(), add)
        .fallback(nowhere)
        .layer(middleware::from_fn_with_state(api.clone(), in_turn))
        .with_state(api)
}

/// Answers a request if there is a turn for it.
async fn in_turn(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    match api.turns.requests.try_acquire() {
        Ok(_turn) => next.run(request).await,
        Err(_) => Refused::unavailable("this node answers as many requests as it takes at a time").into_response(),
    }
}

/// Metrics in the OpenMetrics text format.
async fn metrics(State(api): State<Arc<Api>>) -> Answer {
    api.metrics.see(&api).await;
    let text = api.metrics.encode().map_err(|cause| Refused::internal(&cause))?;
    Ok(bytes(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text.into_bytes()))
}

/// What this API is, for people and for generators of clients.
const OPENAPI: &str = include_str!("../../../../docs/spec/openapi.json");

async fn openapi() -> Answer {
    Ok(bytes(StatusCode::OK, "application/json", OPENAPI.into()))
}

async fn nowhere() -> Answer {
    Err(Refused::unknown("there is nothing at this address; GET /openapi.json lists what there is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(groups: &[Vec<u64>], bytes: usize) -> usize {
        fitting(groups, |_| Ok::<_, std::convert::Infallible>(bytes)).unwrap_or_else(|never| match never {})
    }

    #[test]
    fn an_answer_holds_eight_mebibytes_of_records_and_no_more() {
        let singles: Vec<Vec<u64>> = (0..256).map(|index| vec![index]).collect();
        assert_eq!(fit(&singles, 1000), 256);
        assert_eq!(fit(&singles, RECORDS_BYTES_MAX / 256), 256);
        assert_eq!(fit(&singles, RECORDS_BYTES_MAX / 256 + 1), 255);
        assert_eq!(fit(&singles, Record::BYTES_MAX), 42);
    }

    #[test]
    fn what_belongs_together_is_listed_together_or_not_at_all() {
        let pairs: Vec<Vec<u64>> = (0..128).map(|index| vec![2 * index, 2 * index + 1]).collect();
        assert_eq!(fit(&pairs, Record::BYTES_MAX), 21);
        assert_eq!(fit(&pairs, 100 << 10), 40);
    }

    #[test]
    fn a_few_records_are_not_read_to_be_measured() {
        let measured: Result<usize, &str> = fitting(&[vec![1, 2], vec![3]], |_| Err("was read"));
        assert_eq!(measured, Ok(2));
    }

    /// Whether the answers are as described is shown on a running network, by `crates/samovar/tests/it/openapi.rs`.
    #[test]
    fn the_document_describes_every_route_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let mut described: Vec<String> = Vec::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            described.extend(operations.as_object().unwrap().keys().map(|method| format!("{method} {path}")));
        }
        let mut answered: Vec<String> =
            routes().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        described.sort();
        answered.sort();
        assert_eq!(described, answered);
    }

    #[test]
    fn the_document_says_of_every_route_that_a_node_may_fail_or_have_no_answer_now() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let paths = document["paths"].as_object().unwrap();
        for (path, operation) in
            paths.iter().flat_map(|(path, all)| all.as_object().unwrap().values().map(move |it| (path, it)))
        {
            for status in ["500", "503"] {
                assert!(operation["responses"][status].is_object(), "{path} {status}");
            }
        }
    }
}

//! Tasks: their records, their proof, and how far they are.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::Stream;
use model::{
    NodeId, TaskId,
    api::{Phase, TaskEvent},
};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Api,
    answer::{Answer, Query, Refused, cbor},
    list::{RECORDS_MAX, parse},
};
use crate::{
    places::Places,
    progress::unix_ms,
    proofs::{self, NoProof},
};

/// Longest wait for a task to be settled in one request.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest a stream of events stays open.
const STREAM_MAX: Duration = Duration::from_secs(3600);
/// How long to wait for news of a task before looking at everything again.
const NEWS_MAX: Duration = Duration::from_millis(500);

/// Which tasks.
#[derive(Deserialize)]
pub(crate) struct TaskQuery {
    after: Option<String>,
}

/// The latest tasks first: for each all its records.
pub(crate) async fn tasks(State(api): State<Arc<Api>>, headers: HeaderMap, query: Query<TaskQuery>) -> Answer {
    let after = query.after.as_deref().map(parse::<TaskId>).transpose()?;
    let groups = {
        let places = api.index.places();
        let skipped = match after {
            None => 0,
            Some(after) => {
                let place = places.tasks().position(|(id, _)| *id == after);
                place.ok_or_else(|| Refused::unknown(format!("there is no task {after}")))? + 1
            }
        };
        let mut count = 0;
        let within = |records: &Vec<u64>| {
            count += records.len();
            count <= RECORDS_MAX
        };
        places.tasks().skip(skipped).map(|(_, entry)| entry.records()).take_while(within).collect()
    };
    api.listed(&headers, groups).await
}

/// `?wait=settled`
#[derive(Deserialize)]
pub(crate) struct Wait {
    wait: Option<Until>,
}

/// What to wait for.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Until {
    Settled,
}

/// One task: all its records. With `?wait=settled`, waits up to ten seconds for its settlement.
pub(crate) async fn task(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    query: Query<Wait>,
) -> Answer {
    let id: TaskId = parse(&id)?;
    if query.wait == Some(Until::Settled) {
        api.index.until(WAIT_MAX, |places| is_settled(places, &id)).await;
    }
    let indices = api.index.places().task(&id).map(|entry| entry.records());
    let indices = indices.ok_or_else(|| Refused::unknown(format!("there is no task {id}")))?;
    api.proven(&headers, indices).await
}

fn is_settled(places: &Places, id: &TaskId) -> bool {
    places.task(id).is_some_and(|entry| entry.settlement.is_some())
}

/// The proof of a settled task: one file that `samovar verify` checks offline.
pub(crate) async fn proof(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let id: TaskId = parse(&id)?;
    match proofs::assemble(&api.chain, &api.index, &api.content, &id).await {
        Ok(proof) => Ok(cbor(proof)),
        Err(cause @ NoProof::NoReceipt) => Err(Refused::unknown(cause.to_string())),
        Err(NoProof::Chain(cause)) => Err(cause.into()),
        Err(cause) => Err(Refused::internal(&cause)),
    }
}

/// How far a task is, as server-sent events, until it is settled. For showing only: nothing of it is proven.
pub(crate) async fn events(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let id: TaskId = parse(&id)?;
    let Ok(turn) = api.turns.listeners.clone().try_acquire_owned() else {
        return Err(Refused::unavailable("this node has as many listeners as it takes at a time"));
    };
    Ok(Sse::new(event_stream(api, id, turn)).keep_alive(KeepAlive::default()).into_response())
}

fn event_stream(
    api: Arc<Api>,
    id: TaskId,
    turn: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    async_stream::stream! {
        // Given back when the stream ends or the listener goes.
        let _turn = turn;
        let end = tokio::time::Instant::now() + STREAM_MAX;
        let mut blocks = api.index.watch();
        let mut reporter = Reporter::new(id);
        while tokio::time::Instant::now() < end {
            blocks.borrow_and_update();
            let news = reporter.ledger_news(&api.index.places());
            for event in news {
                yield Ok(sse(&event));
            }
            // The executor has nothing more to tell once the task has ended: nobody waits for it then.
            let news = tokio::select! {
                news = reporter.executor_news(&api) => news,
                true = api.index.until(NEWS_MAX, |places| is_settled(places, &id)) => Vec::new(),
            };
            for event in news {
                yield Ok(sse(&event));
            }
            let end = reporter.end(&api.index.places());
            if let Some(event) = end {
                yield Ok(sse(&event));
                return;
            }
            if reporter.executor.is_none() {
                let _ = tokio::time::timeout(NEWS_MAX, blocks.changed()).await;
            }
        }
    }
}

fn sse(event: &TaskEvent) -> Event {
    Event::default().data(serde_json::to_string(event).unwrap_or_default())
}

/// What one listener has been told about one task.
struct Reporter {
    task: TaskId,
    paid: bool,
    attempt: u8,
    executor: Option<NodeId>,
    /// How many of the executor's events were passed on.
    passed_on: usize,
}

impl Reporter {
    fn new(task: TaskId) -> Self {
        Self { task, paid: false, attempt: 0, executor: None, passed_on: 0 }
    }

    fn event(&self, phase: Phase, detail: impl Into<String>) -> TaskEvent {
        TaskEvent { task: self.task, phase, detail: detail.into(), at_ms: unix_ms() }
    }

    /// What the ledger says that was not told yet.
    fn ledger_news(&mut self, places: &Places) -> Vec<TaskEvent> {
        let mut news = Vec::new();
        let Some(entry) = places.task(&self.task) else { return news };
        if !self.paid {
            self.paid = true;
            news.push(self.event(Phase::Checked, "the owners' terms admit it"));
            news.push(self.event(Phase::Paid, "the price is locked"));
        }
        let attempt = entry.assignments.keys().next_back().copied().unwrap_or_default();
        let executor = places.open_task(&self.task).and_then(|open| open.assignment.as_ref());
        if let (true, Some(current)) = (attempt > self.attempt, executor) {
            self.attempt = attempt;
            self.passed_on = 0;
            self.executor = Some(current.assignment.executor);
            news.push(self.event(Phase::Drawn, current.assignment.executor.to_string()));
        }
        news
    }

    /// What the executor says that was not passed on yet; waits a little for news.
    async fn executor_news(&mut self, api: &Api) -> Vec<TaskEvent> {
        let Some(executor) = self.executor else { return Vec::new() };
        let news = api.progress_of(executor, self.task, self.passed_on, NEWS_MAX).await;
        self.passed_on += news.len();
        news
    }

    /// The last event, if the task is settled.
    fn end(&self, places: &Places) -> Option<TaskEvent> {
        let settlement = places.task(&self.task)?.settlement.as_ref()?;
        Some(match settlement.failure {
            None => self.event(Phase::Finalized, "the receipt is final and everybody is paid"),
            Some(class) => self.event(Phase::Failed, class.to_string()),
        })
    }
}

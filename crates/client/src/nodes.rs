//! Asking nodes over HTTP. One that does not answer, lies, or is behind is passed over and named.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use model::{Canonical, EncodingError, api::Problem};
use reqwest::{Method, StatusCode, header};

use crate::error::{ClientError, Skipped};

/// DAG-CBOR, the encoding in which digests and signatures are made.
const DAG_CBOR: &str = "application/vnd.ipld.dag-cbor";

const CONNECT_MS_MAX: u64 = 3_000;
const ANSWER_MS_MAX: u64 = 15_000;

/// How often nodes are asked again that do not answer yet.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// How often nodes are asked again that are a moment behind.
const CATCHING_UP: Duration = Duration::from_millis(25);

/// Most bytes of an answer that is not content.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Most bytes of an answer that says what went wrong.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// The nodes of a network, in the order in which they are asked.
pub(crate) struct Nodes {
    http: reqwest::Client,
    order: Mutex<Vec<String>>,
    on_skipped: Box<dyn Fn(&Skipped) + Send + Sync>,
    on_waiting: Box<dyn Fn(&str) + Send + Sync>,
    /// Until when nodes that do not answer are waited for.
    patience: Option<Instant>,
}

/// Why one node's answer was not taken.
#[derive(Debug)]
pub(crate) enum Miss {
    /// It could not be reached: it knows nothing of the question.
    Unreachable,
    /// It broke off, or says it failed. What it was sent it may have.
    Silent(String),
    /// Its answer is proven, and too old.
    Behind(String),
    /// Its answer is proven and fresh, but from a moment before what this machine has seen.
    Lags,
    /// Its answer does not pass the checks.
    Disbelieved(String),
    /// It says that there is no such thing.
    NotFound(Problem),
    /// It says that another transaction has this one's nonce, or had it. Nothing rests on that but whether it is worth waiting
    /// for what the ledger shows: nodes may lie.
    OutOfTurn(Problem),
    /// It says that what was asked is against the rules.
    Refused(Problem),
}

impl Miss {
    /// Whether the same question may be answered a little later: the node is starting, or the network gets going.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable | Self::Silent(_) | Self::Behind(_))
    }

    pub(crate) fn disbelieve(cause: impl std::error::Error) -> Self {
        Self::Disbelieved(chain(&cause))
    }

    pub(crate) fn why(&self) -> String {
        match self {
            Self::Unreachable => "cannot be reached".to_owned(),
            Self::Silent(why) => why.clone(),
            Self::Lags => "it is a few blocks behind".to_owned(),
            Self::Behind(why) | Self::Disbelieved(why) => format!("not believed: {why}"),
            Self::NotFound(problem) | Self::OutOfTurn(problem) | Self::Refused(problem) => problem.error.clone(),
        }
    }
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}

/// One question to one node.
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) timeout_ms: u64,
    pub(crate) bytes_max: usize,
}

impl<'a> Question<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: None, timeout_ms: ANSWER_MS_MAX, bytes_max: ANSWER_BYTES_MAX }
    }

    pub(crate) fn post(path: &'a str, body: Vec<u8>) -> Self {
        Self { method: Method::POST, body: Some(body), ..Self::get(path) }
    }
}

impl Nodes {
    /// `prefer` is asked before those of the network file.
    pub(crate) fn new(apis: impl Iterator<Item = String>, prefer: Option<&str>) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|cause| ClientError::machine("make HTTP requests")(cause.into()))?;
        let mut order: Vec<String> = prefer.map(|url| url.trim_end_matches('/').to_owned()).into_iter().collect();
        for api in apis {
            if !order.contains(&api) {
                order.push(api);
            }
        }
        if order.is_empty() {
            Err(ClientError::NoNodes)
        } else {
            Ok(Self {
                http,
                order: Mutex::new(order),
                on_skipped: Box::new(|_| ()),
                on_waiting: Box::new(|_| ()),
                patience: None,
            })
        }
    }

    /// From now on `tell` is called whenever another node has answered in place of one.
    pub(crate) fn on_skipped(&mut self, tell: impl Fn(&Skipped) + Send + Sync + 'static) {
        self.on_skipped = Box::new(tell);
    }

    /// From now on `tell` is called, once for each reason, when nothing but waiting helps.
    pub(crate) fn on_waiting(&mut self, tell: impl Fn(&str) + Send + Sync + 'static) {
        let told = Mutex::new(Vec::new());
        self.on_waiting = Box::new(move |what| {
            let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if !told.iter().any(|known| known == what) {
                tell(what);
                told.push(what.to_owned());
            }
        });
    }

    /// Tells what is waited for.
    pub(crate) fn wait_for(&self, what: &str) {
        (self.on_waiting)(what);
    }

    /// For that long from now on, nodes of which none answers are asked again: they may be starting.
    pub(crate) fn be_patient(&mut self, patience: Duration) {
        self.patience = Some(Instant::now() + patience);
    }

    /// All nodes, those that answered well before the others.
    pub(crate) fn order(&self) -> Vec<String> {
        self.order.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// From now on `node` is asked last.
    fn put_last(&self, node: &str) {
        let mut order = self.order.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(index) = order.iter().position(|other| other == node) {
            let node = order.remove(index);
            order.push(node);
        }
    }

    /// From now on the node that was asked first is asked last.
    pub(crate) fn ask_another_first(&self) {
        if let Some(first) = self.order().first() {
            self.put_last(first);
        }
    }

    /// Asks one node after the other until an answer passes `check`.
    pub(crate) async fn ask<'q, T>(
        &self,
        what: &str,
        question: impl Fn() -> Question<'q>,
        check: impl Fn(Vec<u8>) -> Result<T, Miss>,
    ) -> Result<T, ClientError> {
        loop {
            let misses = match self.ask_all(&question, &check).await {
                Ok(answer) => return Ok(answer),
                Err(misses) => misses,
            };
            // `check` takes what lags before long.
            if misses.iter().any(|(_, miss)| matches!(miss, Miss::Lags)) {
                tokio::time::sleep(CATCHING_UP).await;
                continue;
            }
            let may_come = misses.iter().all(|(_, miss)| miss.may_pass());
            if !may_come || self.patience.is_none_or(|end| Instant::now() > end) {
                return Err(conclude(what, misses));
            }
            self.wait_for("a node that answers");
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// One round of [`Self::ask`].
    async fn ask_all<'q, T>(
        &self,
        question: &impl Fn() -> Question<'q>,
        check: &impl Fn(Vec<u8>) -> Result<T, Miss>,
    ) -> Result<T, Vec<(String, Miss)>> {
        let mut misses = Vec::new();
        for node in self.order() {
            match self.ask_one(&node, question()).await.and_then(check) {
                Ok(answer) => {
                    self.pass_over(&misses);
                    return Ok(answer);
                }
                Err(miss) => misses.push((node, miss)),
            }
        }
        Err(misses)
    }

    /// From now on these nodes are asked last: another has answered in their place.
    fn pass_over(&self, misses: &[(String, Miss)]) {
        let answered =
            |miss: &Miss| matches!(miss, Miss::NotFound(_) | Miss::OutOfTurn(_) | Miss::Refused(_) | Miss::Lags);
        for (node, miss) in misses.iter().filter(|(_, miss)| !answered(miss)) {
            self.put_last(node);
            (self.on_skipped)(&Skipped { node: node.clone(), why: miss.why() });
        }
    }

    /// Asks one node.
    pub(crate) async fn ask_one(&self, node: &str, question: Question<'_>) -> Result<Vec<u8>, Miss> {
        let mut request = self
            .http
            .request(question.method, format!("{node}{}", question.path))
            .header(header::ACCEPT, DAG_CBOR)
            .timeout(Duration::from_millis(question.timeout_ms));
        if let Some(body) = question.body {
            request = request.header(header::CONTENT_TYPE, DAG_CBOR).body(body);
        }
        let response = request.send().await.map_err(|cause| silent(&cause))?;
        let status = response.status();
        if status.is_success() {
            return read(response, question.bytes_max).await;
        }
        Err(problem(status, &read(response, PROBLEM_BYTES_MAX).await?))
    }

    /// Sends a stream to one node.
    pub(crate) async fn upload(
        &self,
        node: &str,
        path: &str,
        content_type: &str,
        body: reqwest::Body,
    ) -> Result<Vec<u8>, Miss> {
        let response = self
            .http
            .post(format!("{node}{path}"))
            .header(header::ACCEPT, DAG_CBOR)
            .header(header::CONTENT_TYPE, content_type)
            .body(body)
            .send()
            .await
            .map_err(|cause| silent(&cause))?;
        let status = response.status();
        if status.is_success() {
            return read(response, ANSWER_BYTES_MAX).await;
        }
        Err(problem(status, &read(response, PROBLEM_BYTES_MAX).await?))
    }

    /// Opens a stream from one node.
    pub(crate) async fn download(&self, node: &str, path: &str, accept: &str) -> Result<reqwest::Response, Miss> {
        let response = self
            .http
            .get(format!("{node}{path}"))
            .header(header::ACCEPT, accept)
            .send()
            .await
            .map_err(|cause| silent(&cause))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(problem(status, &read(response, PROBLEM_BYTES_MAX).await?))
    }
}

/// What all the misses together mean.
pub(crate) fn conclude(what: &str, misses: Vec<(String, Miss)>) -> ClientError {
    // A rule is the same on every node: the first that names one is right, unless nobody could be believed anyway.
    for (_, miss) in &misses {
        if let Miss::Refused(problem) = miss {
            return ClientError::Refused { error: problem.error.clone(), hint: problem.hint.clone() };
        }
    }
    for (_, miss) in &misses {
        if let Miss::OutOfTurn(problem) = miss {
            return ClientError::NonceTaken { error: problem.error.clone(), hint: problem.hint.clone() };
        }
    }
    let answered = |miss: &Miss| matches!(miss, Miss::NotFound(_));
    if misses.iter().any(|(_, miss)| answered(miss))
        && !misses.iter().any(|(_, miss)| matches!(miss, Miss::Disbelieved(_) | Miss::Behind(_)))
    {
        return ClientError::Unknown { what: what.to_owned() };
    }
    let unreachable = misses.iter().all(|(_, miss)| matches!(miss, Miss::Unreachable));
    let behind = |miss: &Miss| matches!(miss, Miss::Unreachable | Miss::Behind(_));
    let stands_still = misses.iter().all(|(_, miss)| behind(miss));
    let tried: Vec<Skipped> = misses.into_iter().map(|(node, miss)| Skipped { node, why: miss.why() }).collect();
    if unreachable {
        ClientError::Nobody { nodes: tried.into_iter().map(|skipped| skipped.node).collect() }
    } else if stands_still {
        ClientError::StandsStill { tried }
    } else {
        ClientError::NoAnswer { what: what.to_owned(), tried }
    }
}

/// Decodes an answer.
pub(crate) fn decode<T: Canonical>(bytes: &[u8]) -> Result<T, Miss> {
    T::from_bytes(bytes, ANSWER_BYTES_MAX).map_err(|cause: EncodingError| Miss::disbelieve(cause))
}

async fn read(response: reqwest::Response, bytes_max: usize) -> Result<Vec<u8>, Miss> {
    let mut bytes = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|cause| silent(&cause))?;
        if bytes.len() + chunk.len() > bytes_max {
            return Err(Miss::Disbelieved(format!("an answer of more than {bytes_max} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn problem(status: StatusCode, bytes: &[u8]) -> Miss {
    // Problems are JSON whatever was asked for: people read them, and nothing is hashed or signed.
    let problem = serde_json::from_slice(bytes).unwrap_or_else(|_| Problem {
        error: format!("it answered {status}"),
        hint: "that node's log may say more".to_owned(),
    });
    match status {
        StatusCode::NOT_FOUND => Miss::NotFound(problem),
        StatusCode::CONFLICT => Miss::OutOfTurn(problem),
        status if status.is_client_error() => Miss::Refused(problem),
        _ => Miss::Silent(problem.error),
    }
}

fn silent(error: &reqwest::Error) -> Miss {
    if error.is_connect() {
        Miss::Unreachable
    } else if error.is_timeout() {
        Miss::Silent("no answer in time".to_owned())
    } else {
        Miss::Silent(chain(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_has_to_wait_is_told_so_unless_a_rule_forbids_it_anyway() {
        let answer = |status: u16| {
            let said = format!(r#"{{"error":"it said {status}","hint":""}}"#);
            (format!("http://node{status}"), problem(StatusCode::from_u16(status).unwrap(), said.as_bytes()))
        };
        let silent = || ("http://node".to_owned(), Miss::Silent("no answer in time".to_owned()));
        let error = conclude("a transaction", vec![silent(), answer(409)]);
        assert!(matches!(&error, ClientError::NonceTaken { error, .. } if error == "it said 409"), "{error:?}");
        let error = conclude("a transaction", vec![answer(409), answer(422)]);
        assert!(matches!(&error, ClientError::Refused { error, .. } if error == "it said 422"), "{error:?}");
        let error = conclude("a transaction", vec![silent(), answer(503)]);
        assert!(matches!(&error, ClientError::NoAnswer { .. }), "{error:?}");
    }
}

//! Asking nodes over HTTP. One that does not answer, lies, or is behind is passed over and named.

use std::{sync::Mutex, time::Duration};

use futures::StreamExt as _;
use model::{Canonical, EncodingError, api::Problem};
use reqwest::{Method, StatusCode, header};

use crate::error::{ClientError, Skipped};

/// DAG-CBOR, the encoding in which digests and signatures are made.
const DAG_CBOR: &str = "application/vnd.ipld.dag-cbor";

const CONNECT_MS_MAX: u64 = 3_000;
const ANSWER_MS_MAX: u64 = 15_000;

/// Most bytes of an answer that is not content.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Most bytes of an answer that says what went wrong.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// The nodes of a network, in the order in which they are asked.
pub(crate) struct Nodes {
    http: reqwest::Client,
    order: Mutex<Vec<String>>,
    on_skipped: Box<dyn Fn(&Skipped) + Send + Sync>,
}

/// Why one node's answer was not taken.
#[derive(Debug)]
pub(crate) enum Miss {
    /// It could not be reached: it knows nothing of the question.
    Unreachable,
    /// It broke off, or says it failed. What it was sent it may have.
    Silent(String),
    /// Its answer does not pass the checks.
    Disbelieved(String),
    /// It says that there is no such thing.
    NotFound(Problem),
    /// It says that what was asked is against the rules.
    Refused(Problem),
}

impl Miss {
    pub(crate) fn disbelieve(cause: impl std::error::Error) -> Self {
        Self::Disbelieved(chain(&cause))
    }

    pub(crate) fn why(&self) -> String {
        match self {
            Self::Unreachable => "cannot be reached".to_owned(),
            Self::Silent(why) => why.clone(),
            Self::Disbelieved(why) => format!("not believed: {why}"),
            Self::NotFound(problem) | Self::Refused(problem) => problem.error.clone(),
        }
    }
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
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
            Ok(Self { http, order: Mutex::new(order), on_skipped: Box::new(|_| ()) })
        }
    }

    /// From now on `tell` is called whenever another node is asked in place of one.
    pub(crate) fn on_skipped(&mut self, tell: impl Fn(&Skipped) + Send + Sync + 'static) {
        self.on_skipped = Box::new(tell);
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
        let mut misses = Vec::new();
        for node in self.order() {
            match self.ask_one(&node, question()).await.and_then(&check) {
                Ok(answer) => return Ok(answer),
                Err(miss) => {
                    if matches!(miss, Miss::Unreachable | Miss::Silent(_) | Miss::Disbelieved(_)) {
                        self.put_last(&node);
                        (self.on_skipped)(&Skipped { node: node.clone(), why: miss.why() });
                    }
                    misses.push((node, miss));
                }
            }
        }
        Err(conclude(what, misses))
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
            let everywhere = misses.iter().all(|(_, miss)| matches!(miss, Miss::Refused(_) | Miss::Unreachable));
            return ClientError::Refused { error: problem.error.clone(), hint: problem.hint.clone(), everywhere };
        }
    }
    let answered = |miss: &Miss| matches!(miss, Miss::NotFound(_));
    if misses.iter().any(|(_, miss)| answered(miss))
        && !misses.iter().any(|(_, miss)| matches!(miss, Miss::Disbelieved(_)))
    {
        return ClientError::Unknown { what: what.to_owned() };
    }
    let tried = misses.into_iter().map(|(node, miss)| Skipped { node, why: miss.why() }).collect();
    ClientError::NoAnswer { what: what.to_owned(), tried }
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
    let problem = serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Problem { error: format!("it answered {status}"), hint: String::new() });
    match status {
        StatusCode::NOT_FOUND => Miss::NotFound(problem),
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

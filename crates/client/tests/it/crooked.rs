//! A node that answers whatever it is told to: the adversary of these tests.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
};

/// What it answers, by path.
#[derive(Clone, Default)]
pub(crate) struct Crooked {
    answers: Arc<Mutex<HashMap<String, (StatusCode, Vec<u8>)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Crooked {
    /// Listens on a free port of the loopback device; returns the base of its API.
    pub(crate) async fn listen(&self) -> String {
        let router = Router::new().fallback(answer).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    /// From now on it answers `path` with these bytes.
    pub(crate) fn answer(&self, path: &str, bytes: Vec<u8>) {
        self.answer_with(path, StatusCode::OK, bytes);
    }

    /// From now on it answers `path` with this.
    pub(crate) fn answer_with(&self, path: &str, status: StatusCode, bytes: Vec<u8>) {
        self.answers.lock().unwrap().insert(path.to_owned(), (status, bytes));
    }

    /// The paths it was asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(State(node): State<Crooked>, request: Request<Body>) -> Response {
    let path = request.uri().to_string();
    node.asked.lock().unwrap().push(path.clone());
    let answers = node.answers.lock().unwrap();
    // Whoever was told one page only shows it again and again.
    let first_page = path.split("?after=").next().unwrap_or_default();
    match answers.get(&path).or_else(|| answers.get(first_page)).cloned() {
        Some((status, bytes)) => (status, bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

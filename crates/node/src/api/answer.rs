//! How questions are read and answers are written: canonical DAG-CBOR for programs, JSON for people, the same types.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use consensus::QueryError;
use model::{Canonical, api::Problem};
use serde::{Serialize, de::DeserializeOwned};

use crate::chain::ChainError;

/// Media type of canonical DAG-CBOR (IPLD).
pub(crate) const DAG_CBOR: &str = "application/vnd.ipld.dag-cbor";
const JSON: &str = "application/json";

/// The form of answer a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Canonical DAG-CBOR.
    DagCbor,
    /// JSON.
    Json,
}

impl Form {
    /// Reads the `Accept` header; anything but DAG-CBOR means JSON.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let wants_cbor = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains(DAG_CBOR));
        if wants_cbor { Self::DagCbor } else { Self::Json }
    }

    /// Writes `value` in this form.
    pub(crate) fn answer<T: Serialize + DeserializeOwned>(self, value: &T) -> Response {
        match self {
            Self::DagCbor => cbor(value.to_bytes()),
            // Every type of the model has string keys only, so that this does not fail.
            Self::Json => bytes(StatusCode::OK, JSON, serde_json::to_vec_pretty(value).unwrap_or_default()),
        }
    }
}

/// An answer that is canonical DAG-CBOR already.
pub(crate) fn cbor(body: Vec<u8>) -> Response {
    bytes(StatusCode::OK, DAG_CBOR, body)
}

/// An answer of some other media type.
pub(crate) fn bytes(status: StatusCode, media_type: &'static str, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static(media_type))], body).into_response()
}

/// What a handler returns.
pub(crate) type Answer = Result<Response, Refused>;

/// A request that is not answered: whose fault it is (the status), what happened and what to do next.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    problem: Problem,
}

impl Refused {
    fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, problem: Problem { error: error.into(), hint: hint.into() } }
    }

    /// The request cannot be read.
    pub(crate) fn malformed(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, "GET /openapi.json describes every request")
    }

    /// The address is asked with another method than the one it has.
    pub(crate) fn method(known: &str) -> Self {
        let error = format!("this address takes {} alone", known.to_uppercase());
        Self::new(StatusCode::METHOD_NOT_ALLOWED, error, "GET /openapi.json describes every request")
    }

    /// There is no such thing, or not yet.
    pub(crate) fn unknown(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, "check the id; what was just submitted takes a moment to be final")
    }

    /// A rule forbids it.
    pub(crate) fn forbidden(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error, hint)
    }

    /// Another transaction has this one's nonce, or had it: the ledger will show which. A client waits for that.
    pub(crate) fn out_of_turn(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, error, hint)
    }

    /// The node cannot do it at the moment.
    pub(crate) fn unavailable(error: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, "try again, or ask another node")
    }

    /// The node failed. What happened is in its log; the network never sees internal messages.
    pub(crate) fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(target: "samovar::api", error = %crate::chain_of(cause), "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "this node could not answer",
            "its log says why; another node may answer",
        )
    }
}

/// What there is not and what this node cannot say now are different answers: a client takes the first and waits after the second.
impl From<ChainError> for Refused {
    fn from(cause: ChainError) -> Self {
        match &cause {
            ChainError::NoBlock(_) => Self::unknown(cause.to_string()),
            ChainError::Engine(cause @ (QueryError::Shorter { .. } | QueryError::NoRecord(_))) => {
                Self::unknown(cause.to_string())
            }
            ChainError::Engine(cause @ (QueryError::NotCertified | QueryError::Stopped)) => {
                Self::unavailable(cause.to_string())
            }
            _ => Self::internal(&cause),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        bytes(self.status, JSON, serde_json::to_vec(&self.problem).unwrap_or_default())
    }
}

/// What stands behind the `?`. What is wrong with it is said as everything else is.
pub(crate) struct Query<T>(T);

impl<T> std::ops::Deref for Query<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let query = axum::extract::Query::try_from_uri(&parts.uri);
        query.map(|query| Self(query.0)).map_err(|cause| Refused::malformed(cause.body_text()))
    }
}

/// A request body of type `T` in either form. The router bounds its length.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: Canonical, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let is_cbor = request.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == DAG_CBOR);
        let body = Bytes::from_request(request, state).await.map_err(|cause| Refused::malformed(cause.body_text()))?;
        let value = if is_cbor {
            T::from_bytes(&body, usize::MAX).map_err(|cause| cause.to_string())
        } else {
            serde_json::from_slice(&body).map_err(|cause| cause.to_string())
        };
        value.map(Self).map_err(Refused::malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_query_that_cannot_be_read_is_refused_as_everything_else_is() {
        #[derive(Debug, serde::Deserialize)]
        struct From {
            from: u64,
        }
        let read = async |uri: &str| {
            let (mut parts, ()) = axum::http::Request::get(uri).body(()).expect("a request").into_parts();
            Query::<From>::from_request_parts(&mut parts, &()).await.map(|query| query.from)
        };
        assert_eq!(read("/v1/extension?from=7").await.expect("a number"), 7);
        for uri in ["/v1/extension", "/v1/extension?from=-1", "/v1/extension?from=7&from=8"] {
            let refused = read(uri).await.expect_err("not a number");
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{uri}");
            assert!(refused.problem.error.contains("from"), "{uri}: {}", refused.problem.error);
        }
    }

    fn form(accept: Option<&'static str>) -> Form {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        }
        Form::accepted(&headers)
    }

    #[test]
    fn people_get_json_and_programs_get_dag_cbor() {
        assert_eq!(form(None), Form::Json);
        assert_eq!(form(Some("*/*")), Form::Json);
        assert_eq!(form(Some("text/html, application/json")), Form::Json);
        assert_eq!(form(Some(DAG_CBOR)), Form::DagCbor);
        assert_eq!(form(Some("application/json;q=0.5, application/vnd.ipld.dag-cbor")), Form::DagCbor);
    }

    #[test]
    fn a_ledger_that_cannot_answer_now_does_not_say_that_there_is_no_such_thing() {
        let status = |cause: QueryError| Refused::from(ChainError::Engine(cause)).status;
        assert_eq!(status(QueryError::NotCertified), StatusCode::SERVICE_UNAVAILABLE, "the quorum is lost");
        assert_eq!(status(QueryError::Stopped), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(QueryError::Shorter { old_size: 9, size: 8 }), StatusCode::NOT_FOUND);
        assert_eq!(status(QueryError::NoRecord(8)), StatusCode::NOT_FOUND);
        assert_eq!(status(QueryError::NotAscending), StatusCode::INTERNAL_SERVER_ERROR, "this node's own fault");
    }
}

//! What the ledger knows: objects, tasks and nodes, each from proven records.
//!
//! A node cannot invent an entry of a list. It could leave one out; [`Client::object`], [`Client::task`] and
//! [`Client::node`] ask the live state as well, so that nothing newer is hidden there.

use finality::{Finalized, Head};
use ledger::state::{NodeState, ObjectState, TaskState};
use model::{
    Assignment, Canonical as _, Fact, Genesis, NodeId, ObjectId, ObjectKind, Outcome, PublishedObject, Record,
    Registration, Settlement, Signed, Task, TaskId, Terms, Verdict,
};

use crate::{
    client::{Client, read_state},
    error::ClientError,
};

/// A published object.
#[derive(Clone, Debug)]
pub struct ObjectView {
    /// Its id.
    pub id: ObjectId,
    /// What was published.
    pub object: PublishedObject,
    /// Ledger time of its publication, milliseconds.
    pub published_ms: u64,
    /// The terms that hold; in a list the newest that the node showed.
    pub terms: Option<Signed<Terms>>,
}

impl ObjectView {
    /// Data or program.
    pub fn kind(&self) -> ObjectKind {
        self.object.manifest.unverified().kind
    }

    /// Nodes that have acknowledged storing its ciphertext until after `time_ms`.
    pub fn copies(&self, time_ms: u64) -> usize {
        let ciphertext = self.object.manifest.unverified().ciphertext;
        let holds = |ack: &model::StorageAck| ack.content == ciphertext && ack.until_ms > time_ms;
        self.object.storage.iter().filter(|ack| holds(ack.unverified())).count()
    }
}

/// A task, as far as it has come.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// What was asked for.
    pub task: Task,
    /// When, ledger time, milliseconds.
    pub asked_ms: u64,
    /// Place of its record in the log.
    pub index: u64,
    /// Who was drawn, first attempt first.
    pub assignments: Vec<Assignment>,
    /// How it ended.
    pub settlement: Option<Settled>,
}

/// The end of a task.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The settlement.
    pub settlement: Settlement,
    /// When, ledger time, milliseconds.
    pub time_ms: u64,
}

impl TaskView {
    /// In a word: `waiting`, `running`, `done` or `failed: …`.
    pub fn standing(&self) -> String {
        match &self.settlement {
            None if self.assignments.is_empty() => "waiting".to_owned(),
            None => "running".to_owned(),
            Some(settled) => match settled.settlement.failure() {
                None => "done".to_owned(),
                Some(class) => format!("failed: {class}"),
            },
        }
    }

    /// The result's seal, if there is a result.
    pub fn result(&self) -> Option<&model::ResultSeal> {
        let receipt = self.settlement.as_ref()?.settlement.receipt.as_ref()?.unverified();
        match &receipt.outcome {
            Outcome::Done(seal) => Some(seal),
            Outcome::Failed(_) => None,
        }
    }
}

/// A node with a verdict, now or once.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// What it says of itself.
    pub registration: Registration,
    /// Its newest verdict shown.
    pub verdict: Verdict,
    /// Ledger time of the head at which the list was proven.
    pub seen_ms: u64,
}

impl NodeView {
    /// Its key.
    pub fn id(&self) -> NodeId {
        self.registration.node
    }

    /// Whether its verdict holds for at least `margin_ms` more.
    pub fn is_fresh(&self, margin_ms: u64) -> bool {
        self.seen_ms.saturating_add(margin_ms) < self.verdict.expires_ms
    }
}

impl Client {
    /// Lists all objects that nodes show, page by page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn objects(&self, kind: Option<ObjectKind>) -> Result<(Head, Vec<ObjectView>), ClientError> {
        let (head, records) = self.records("the objects", &objects_path(kind, None)).await?;
        let mut objects = objects_of(&records);
        // Pages are in the order of ids. One that brings nothing further ends the list, whatever else it shows.
        while let Some(last) = objects.iter().map(|object| object.id).max() {
            let (_, records) = self.records("more of the objects", &objects_path(kind, Some(last))).await?;
            let known = objects.len();
            objects.extend(objects_of(&records).into_iter().filter(|object| object.id > last));
            if objects.len() == known {
                break;
            }
        }
        objects.retain(|object| kind.is_none_or(|kind| kind == object.kind()));
        Ok((head, objects))
    }

    /// One object, with the terms that hold at a fresh head.
    ///
    /// # Errors
    /// [`ClientError::Unknown`] if the live state shows that there is none.
    pub async fn object(&self, id: &ObjectId) -> Result<(ObjectView, ObjectState), ClientError> {
        let what = format!("object {id}");
        self.until_final(&what, || async {
            let (_, value) = self.state(&what, ledger::key::object(id)).await?;
            let Some(value) = value else { return Err(ClientError::Unknown { what: what.clone() }) };
            let state: ObjectState = read_state(&value)?;
            let (_, records) = self.records(&what, &format!("/v1/objects/{id}")).await?;
            Ok(newest_object(id, &state, &records).map(|view| (view, state)))
        })
        .await
    }

    /// Lists all tasks that nodes show, page by page; the earliest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tasks(&self) -> Result<(Head, Vec<TaskView>), ClientError> {
        let (head, records) = self.records("the tasks", "/v1/tasks").await?;
        let mut tasks = tasks_of(&records);
        // Pages go backwards in time. One that brings nothing earlier ends the list, whatever else it shows.
        while let Some(first) = tasks.first().map(|task| (task.index, task.id)) {
            let path = format!("/v1/tasks?after={}", first.1);
            let (_, records) = self.records("more of the tasks", &path).await?;
            let mut earlier = tasks_of(&records);
            earlier.retain(|task| task.index < first.0);
            if earlier.is_empty() {
                break;
            }
            earlier.append(&mut tasks);
            tasks = earlier;
        }
        Ok((head, tasks))
    }

    /// One task, with its settlement if the live state shows that it is settled.
    ///
    /// # Errors
    /// [`ClientError::Unknown`] if the live state shows that there is none.
    pub async fn task(&self, id: &TaskId) -> Result<TaskView, ClientError> {
        let what = format!("task {id}");
        self.until_final(&what, || async {
            let (_, value) = self.state(&what, ledger::key::task(id)).await?;
            let Some(value) = value else { return Err(ClientError::Unknown { what: what.clone() }) };
            let state: TaskState = read_state(&value)?;
            let (_, records) = self.records(&what, &format!("/v1/tasks/{id}")).await?;
            let view = tasks_of(&records).into_iter().find(|view| view.id == *id);
            let settled = matches!(state, TaskState::Settled(_));
            Ok(view.filter(|view| view.settlement.is_some() || !settled))
        })
        .await
    }

    /// Lists nodes whose registration and verdict pass [`check_verdict`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn nodes(&self) -> Result<(Head, Vec<NodeView>), ClientError> {
        let genesis = self.genesis().await?;
        let (head, records) = self.records("the nodes", "/v1/nodes").await?;
        let nodes = nodes_of(&head, &records)
            .into_iter()
            .filter(|node| check_verdict(genesis, &self.network, self.file.simulated, node).is_ok())
            .collect();
        Ok((head, nodes))
    }

    /// One node and what the live state says about it.
    ///
    /// # Errors
    /// [`ClientError::Unknown`] if it never had a verdict.
    pub async fn node(&self, id: &NodeId) -> Result<(NodeView, NodeState), ClientError> {
        let what = format!("node {id}");
        let (_, value) = self.state(&what, ledger::key::node(id)).await?;
        let Some(value) = value else { return Err(ClientError::Unknown { what }) };
        let state: NodeState = read_state(&value)?;
        let (_, nodes) = self.nodes().await?;
        match nodes.into_iter().find(|node| node.id() == *id) {
            Some(node) => Ok((node, state)),
            None => Err(ClientError::Unknown { what }),
        }
    }
}

/// Why a verdict is not believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerdictError {
    /// Its TPM is software, and the network file does not allow that.
    #[error("its TPM is simulated, and the network file does not say simulated = true")]
    Simulated,
    /// The seed is not the committee's, so nobody was drawn by it.
    #[error("the committee has not signed the seed that draws its appraisers")]
    Seed(#[source] finality::FinalityError),
    /// The committee has not approved the node as it is, or the votes are no verdict.
    #[error("the ledger would have refused its verdict")]
    Refused(#[source] ledger::Refusal),
}

/// Checks that the votes behind a verdict are what they must be, for these very keys.
///
/// # Errors
/// [`VerdictError`].
pub fn check_verdict(
    genesis: &Genesis,
    network: &finality::Network,
    simulated: bool,
    node: &NodeView,
) -> Result<(), VerdictError> {
    let NodeView { registration, verdict, .. } = node;
    if verdict.result.simulated && !simulated {
        return Err(VerdictError::Simulated);
    }
    network.check_seed(&verdict.seed).map_err(VerdictError::Seed)?;
    ledger::check_verdict(genesis, &network.id, registration, verdict).map_err(VerdictError::Refused)
}

fn objects_path(kind: Option<ObjectKind>, after: Option<ObjectId>) -> String {
    let kind = kind.map(|kind| format!("kind={kind}"));
    let after = after.map(|after| format!("after={after}"));
    let query = [kind, after].into_iter().flatten().collect::<Vec<_>>().join("&");
    if query.is_empty() { "/v1/objects".to_owned() } else { format!("/v1/objects?{query}") }
}

fn newest_object(id: &ObjectId, state: &ObjectState, records: &[Finalized<Record>]) -> Option<ObjectView> {
    let by_digest = |digest| records.iter().find(|record| record.digest() == digest);
    let object = by_digest(state.record)?;
    let Fact::Object(published) = &object.get().fact else { return None };
    let Fact::Terms(terms) = &by_digest(state.terms_record)?.get().fact else { return None };
    if published.manifest.object_id() != *id || terms.unverified().object != *id {
        return None;
    }
    Some(ObjectView {
        id: *id,
        object: (**published).clone(),
        published_ms: object.time_ms(),
        terms: Some((**terms).clone()),
    })
}

fn objects_of(records: &[Finalized<Record>]) -> Vec<ObjectView> {
    let mut objects: Vec<ObjectView> = Vec::new();
    for record in records {
        if let Fact::Object(object) = &record.get().fact {
            let id = object.manifest.object_id();
            objects.push(ObjectView { id, object: (**object).clone(), published_ms: record.time_ms(), terms: None });
        }
    }
    for record in records {
        let Fact::Terms(terms) = &record.get().fact else { continue };
        let about = objects.iter_mut().find(|object| object.id == terms.unverified().object);
        let Some(object) = about else { continue };
        let known = object.terms.as_ref().map_or(0, |terms| terms.unverified().serial);
        if terms.unverified().serial > known {
            object.terms = Some((**terms).clone());
        }
    }
    objects
}

pub(crate) fn tasks_of(records: &[Finalized<Record>]) -> Vec<TaskView> {
    let mut tasks: Vec<TaskView> = Vec::new();
    for record in records {
        if let Fact::Task(task) = &record.get().fact {
            tasks.push(TaskView {
                id: task.id(),
                task: (**task).clone(),
                asked_ms: record.time_ms(),
                index: record.index(),
                assignments: Vec::new(),
                settlement: None,
            });
        }
    }
    for record in records {
        match &record.get().fact {
            Fact::Assignment(assignment) => {
                if let Some(task) = tasks.iter_mut().find(|task| task.id == assignment.task) {
                    task.assignments.push((**assignment).clone());
                }
            }
            Fact::Settlement(settlement) => {
                if let Some(task) = tasks.iter_mut().find(|task| task.id == settlement.task) {
                    task.settlement = Some(Settled { settlement: (**settlement).clone(), time_ms: record.time_ms() });
                }
            }
            _ => {}
        }
    }
    tasks
}

fn nodes_of(head: &Head, records: &[Finalized<Record>]) -> Vec<NodeView> {
    let mut nodes: Vec<NodeView> = Vec::new();
    for record in records {
        let Fact::Verdict(verdict) = &record.get().fact else { continue };
        let registration = records.iter().find_map(|record| match &record.get().fact {
            Fact::Registration(registration) if registration.digest() == verdict.registration => Some(registration),
            _ => None,
        });
        let Some(registration) = registration else { continue };
        let view =
            NodeView { registration: (**registration).clone(), verdict: (**verdict).clone(), seen_ms: head.time_ms() };
        match nodes.iter_mut().find(|node| node.id() == view.id()) {
            Some(known) if known.verdict.expires_ms >= view.verdict.expires_ms => {}
            Some(known) => *known = view,
            None => nodes.push(view),
        }
    }
    nodes
}

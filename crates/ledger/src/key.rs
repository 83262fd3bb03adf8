//! Where each value of the state is kept: a key is the digest of a kind and an id ([`model::Digest::of_parts`]).

use model::{AccountId, Digest, NodeId, ObjectId, TaskId};

use crate::Key;

fn key(kind: &str, id: &[u8]) -> Key {
    Digest::of_parts(&[kind.as_bytes(), id]).0
}

/// [`crate::state::AccountState`]
pub fn account(account: &AccountId) -> Key {
    key("account", &account.0)
}

/// [`crate::state::ObjectState`]
pub fn object(object: &ObjectId) -> Key {
    key("object", &object.0.to_bytes())
}

/// The [`model::Terms`] that hold for an object.
pub fn terms(object: &ObjectId) -> Key {
    key("terms", &object.0.to_bytes())
}

/// [`crate::state::NodeState`]
pub fn node(node: &NodeId) -> Key {
    key("node", &node.0)
}

/// Digest of the record that holds the registration with this digest; a registration is recorded once.
pub fn registration(digest: &Digest) -> Key {
    key("registration", &digest.0)
}

/// [`crate::state::TaskState`]
pub fn task(task: &TaskId) -> Key {
    key("task", &task.0)
}

/// [`crate::state::Roster`]: every node that ever had a verdict.
pub fn roster() -> Key {
    key("roster", &[])
}

/// [`crate::state::Windows`]: the seeds that draw appraisers.
pub fn windows() -> Key {
    key("windows", &[])
}

/// [`crate::state::Schedule`]: tasks that wait for an executor, and deadlines.
pub fn schedule() -> Key {
    key("schedule", &[])
}

/// One page of a list of the schedule, `waiting` or `deadlines`: its entries, ascending.
pub fn page(list: &str, number: u64) -> Key {
    Digest::of_parts(&[b"page", list.as_bytes(), &number.to_be_bytes()]).0
}

/// How many tasks of a requester wait for an executor; absent for none.
pub fn waiting(requester: &AccountId) -> Key {
    key("waiting", &requester.0)
}

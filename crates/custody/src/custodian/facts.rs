//! What a custodian rests its decision on: records that its own node has found final.

use finality::{Finalized, Head};
use model::{
    Assignment, Digest, FactKind, ObjectId, PublishedObject, Record, Registration, Settlement, Signed, Task, TaskId,
    Terms, Verdict,
};

use super::progress::Progress;

/// What a custodian's own node says about the owner of a deposit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The owner's credits.
    pub balance: u64,
    /// What it costs at least to publish what is deposited.
    pub needed: u64,
    /// Ledger time up to which the custodian has been shown every record ([`super::Message::Final`]).
    pub observed_ms: u64,
}

/// The finalized records around one task, found by the custodian's own node. Nothing in here comes from the executor.
#[derive(Clone, Debug)]
pub struct ReleaseFacts {
    /// The newest head this node has.
    pub head: Head,
    /// The task.
    pub task: Finalized<Task>,
    /// Who runs it.
    pub assignment: Finalized<Assignment>,
    /// The verdict that the assignment names.
    pub verdict: Finalized<Verdict>,
    /// The registration that the verdict vouches for.
    pub registration: Finalized<Registration>,
    /// Every object of the task once, in the order in which they first appear in [`Task::objects`].
    pub objects: Vec<ObjectFacts>,
    /// How far the task is. Nobody but [`ReleaseFacts::from_records`] sets it, so nobody forgets to.
    pub(super) progress: Progress,
}

/// What is final about one object.
#[derive(Clone, Debug)]
pub struct ObjectFacts {
    /// It was published.
    pub object: Finalized<PublishedObject>,
    /// Its terms with the highest serial.
    pub terms: Finalized<Signed<Terms>>,
}

impl ObjectFacts {
    pub(crate) fn id(&self) -> ObjectId {
        self.object.get().manifest.object_id()
    }
}

/// This node could not put the facts together: it is behind, or asked for another task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this node has no finalized {what} for task {task}")]
pub struct FactsError {
    /// Which task.
    pub task: TaskId,
    /// What is missing.
    pub what: &'static str,
}

impl ReleaseFacts {
    /// Picks the facts about one assignment, named by the digest of its record, out of `records`, in whatever order they
    /// come. Of several terms of an object the highest serial counts.
    ///
    /// Everything about the task belongs into `records`: all its assignments, and its settlement if it has one. Whether
    /// something may still be released is for the custodian to say (R2), not for who puts the records together.
    ///
    /// # Errors
    /// [`FactsError`] says what is missing.
    pub fn from_records(
        head: Head,
        task: TaskId,
        assignment: Digest,
        records: Vec<Finalized<Record>>,
    ) -> Result<Self, FactsError> {
        let missing = |what| FactsError { task, what };
        let sorted = Sorted::of(records);
        let progress = sorted.progress(&task);
        let assignment =
            sorted.assignments.into_iter().find(|found| found.digest() == assignment).ok_or(missing("assignment"))?;
        let verdict = sorted
            .verdicts
            .into_iter()
            .find(|found| found.digest() == assignment.get().verdict)
            .ok_or(missing("verdict"))?;
        let registration = sorted
            .registrations
            .into_iter()
            .find(|found| model::Canonical::digest(found.get()) == verdict.get().registration)
            .ok_or(missing("registration"))?;
        let found = sorted.tasks.into_iter().find(|found| found.get().id() == task).ok_or(missing("task"))?;
        let objects = object_facts(found.get(), &sorted.objects, &sorted.terms).map_err(missing)?;
        Ok(Self { head, task: found, assignment, verdict, registration, objects, progress })
    }
}

fn object_facts(
    task: &Task,
    objects: &[Finalized<PublishedObject>],
    terms: &[Finalized<Signed<Terms>>],
) -> Result<Vec<ObjectFacts>, &'static str> {
    let mut facts = Vec::<ObjectFacts>::new();
    for id in task.objects() {
        if facts.iter().any(|known| known.id() == id) {
            continue;
        }
        let object = objects.iter().find(|found| found.get().manifest.object_id() == id).ok_or("object")?;
        let terms = terms
            .iter()
            .filter(|found| found.get().unverified().object == id)
            .max_by_key(|found| found.get().unverified().serial)
            .ok_or("terms")?;
        facts.push(ObjectFacts { object: object.clone(), terms: terms.clone() });
    }
    Ok(facts)
}

/// Records by kind.
#[derive(Default)]
struct Sorted {
    objects: Vec<Finalized<PublishedObject>>,
    terms: Vec<Finalized<Signed<Terms>>>,
    registrations: Vec<Finalized<Registration>>,
    verdicts: Vec<Finalized<Verdict>>,
    tasks: Vec<Finalized<Task>>,
    assignments: Vec<Finalized<Assignment>>,
    settlements: Vec<Finalized<Settlement>>,
}

impl Sorted {
    fn of(records: Vec<Finalized<Record>>) -> Self {
        let mut sorted = Self::default();
        for record in records {
            match record.get().fact.kind() {
                FactKind::Object => sorted.objects.extend(record.try_map(PublishedObject::try_from)),
                FactKind::Terms => sorted.terms.extend(record.try_map(Signed::try_from)),
                FactKind::Registration => sorted.registrations.extend(record.try_map(Registration::try_from)),
                FactKind::Verdict => sorted.verdicts.extend(record.try_map(Verdict::try_from)),
                FactKind::Task => sorted.tasks.extend(record.try_map(Task::try_from)),
                FactKind::Assignment => sorted.assignments.extend(record.try_map(Assignment::try_from)),
                FactKind::Settlement => sorted.settlements.extend(record.try_map(Settlement::try_from)),
                FactKind::Releases => {}
            }
        }
        sorted
    }

    fn progress(&self, task: &TaskId) -> Progress {
        let drawn = self.assignments.iter().map(Finalized::get).filter(|found| found.task == *task);
        let settlement = self.settlements.iter().find(|found| found.get().task == *task);
        Progress {
            attempt: drawn.map(|found| found.attempt).max().unwrap_or_default(),
            settled_ms: settlement.map(Finalized::time_ms),
        }
    }
}

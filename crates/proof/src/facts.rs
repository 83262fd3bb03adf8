//! Sorts the proven records: exactly those that one task needs, each in its place.

use finality::Finalized;
use model::{
    Assignment, FactKind, ObjectId, PublishedObject, Receipt, Record, Registration, Settlement, Signed, Task, Terms,
    Verdict,
};

use crate::{Link, ProofError, error::same};

/// The records of one task.
pub(crate) struct Facts {
    pub(crate) task: Finalized<Task>,
    pub(crate) assignment: Finalized<Assignment>,
    pub(crate) settlement: Finalized<Settlement>,
    pub(crate) verdict: Finalized<Verdict>,
    pub(crate) registration: Finalized<Registration>,
    /// In the order of [`Task::objects`].
    pub(crate) objects: Vec<ObjectFacts>,
    pub(crate) receipt: Signed<Receipt>,
}

/// The records of one object.
pub(crate) struct ObjectFacts {
    pub(crate) id: ObjectId,
    pub(crate) object: Finalized<PublishedObject>,
    pub(crate) terms: Finalized<Signed<Terms>>,
}

#[derive(Default)]
struct Sorted {
    tasks: Vec<Finalized<Task>>,
    assignments: Vec<Finalized<Assignment>>,
    settlements: Vec<Finalized<Settlement>>,
    verdicts: Vec<Finalized<Verdict>>,
    registrations: Vec<Finalized<Registration>>,
    objects: Vec<Finalized<PublishedObject>>,
    terms: Vec<Finalized<Signed<Terms>>>,
    others: usize,
}

impl Facts {
    pub(crate) fn sort(records: Vec<Finalized<Record>>) -> Result<Self, ProofError> {
        let mut sorted = Sorted::default();
        for record in records {
            sorted.add(record);
        }
        if sorted.others > 0 {
            return Err(ProofError::Records { what: "records of other kinds", expected: 0, found: sorted.others });
        }
        let task = one(sorted.tasks, "task records")?;
        let settlement = one(sorted.settlements, "settlement records")?;
        let receipt = settlement.get().receipt.clone();
        let receipt = receipt.ok_or(ProofError::Records { what: "receipts", expected: 1, found: 0 })?;
        let ids: Vec<ObjectId> = task.get().objects().collect();
        count(sorted.objects.len(), ids.len(), "object records")?;
        count(sorted.terms.len(), ids.len(), "terms records")?;
        let mut objects = Vec::with_capacity(ids.len());
        for id in ids {
            let object = take(&mut sorted.objects, |object| object.manifest.object_id() == id);
            let terms = take(&mut sorted.terms, |terms| terms.unverified().object == id);
            let (Some(object), Some(terms)) = (object, terms) else {
                return Err(ProofError::Mismatch {
                    link: Link::Records,
                    what: "an object or its terms",
                    expected: "one of the task's",
                });
            };
            objects.push(ObjectFacts { id, object, terms });
        }
        let facts = Self {
            task,
            assignment: one(sorted.assignments, "assignment records")?,
            settlement,
            verdict: one(sorted.verdicts, "verdict records")?,
            registration: one(sorted.registrations, "registration records")?,
            objects,
            receipt,
        };
        facts.check_task()?;
        Ok(facts)
    }

    /// Assignment, settlement and receipt must be about the task.
    fn check_task(&self) -> Result<(), ProofError> {
        let id = self.task.get().id();
        same(self.assignment.get().task == id, Link::Records, "the assignment's task", "the task that was asked for")?;
        same(self.settlement.get().task == id, Link::Records, "the settlement's task", "the task that was asked for")?;
        same(self.receipt.unverified().task == id, Link::Receipt, "the receipt's task", "the task that was asked for")?;
        let ordered = self.task.index() < self.assignment.index() && self.assignment.index() < self.settlement.index();
        same(ordered, Link::Records, "the order of the records", "task, assignment, settlement")
    }
}

impl Sorted {
    fn add(&mut self, record: Finalized<Record>) {
        match record.get().fact.kind() {
            FactKind::Task => self.tasks.extend(record.try_map(Task::try_from)),
            FactKind::Assignment => self.assignments.extend(record.try_map(Assignment::try_from)),
            FactKind::Settlement => self.settlements.extend(record.try_map(Settlement::try_from)),
            FactKind::Verdict => self.verdicts.extend(record.try_map(Verdict::try_from)),
            FactKind::Registration => self.registrations.extend(record.try_map(Registration::try_from)),
            FactKind::Object => self.objects.extend(record.try_map(PublishedObject::try_from)),
            FactKind::Terms => self.terms.extend(record.try_map(Signed::try_from)),
            FactKind::Releases => self.others += 1,
        }
    }
}

fn one<T>(mut list: Vec<T>, what: &'static str) -> Result<T, ProofError> {
    let found = list.len();
    match (list.pop(), found) {
        (Some(only), 1) => Ok(only),
        _ => Err(ProofError::Records { what, expected: 1, found }),
    }
}

fn count(found: usize, expected: usize, what: &'static str) -> Result<(), ProofError> {
    if found == expected { Ok(()) } else { Err(ProofError::Records { what, expected, found }) }
}

fn take<T>(list: &mut Vec<Finalized<T>>, wanted: impl Fn(&T) -> bool) -> Option<Finalized<T>> {
    let at = list.iter().position(|item| wanted(item.get()))?;
    Some(list.swap_remove(at))
}

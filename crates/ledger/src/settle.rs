//! The end of a task: the receipt is checked against what it rests on, and everybody is paid in the same block.

use model::{
    AccountId, Completion, ContentId, Fact, FailureClass, Genesis, NodeId, ObjectKind, Outcome, Payment, ResultSeal,
    Settlement, Signed, StorageAck, Task, TaskId, sealed_length,
};

use crate::{
    ATTEMPTS_MAX, Refusal, key, money, nodes,
    objects::{self, Stored},
    pages,
    state::{AssignedTask, Deadline, ObjectState, OpenTask, SettledTask, TaskState},
    tasks,
    view::{Halt, View},
};

/// Most bytes of the sealed result of a run from which `output_bytes_max` bytes may leave: what leaves and the frame of its
/// archive, padded as every file is, with a tag for each chunk.
pub fn result_bytes_max(output_bytes_max: u64) -> u64 {
    /// Names of the archive's fields, their lengths, the exit code where it is not counted.
    const FRAME_BYTES: u64 = 64;
    /// Names and lengths of a file's fields. Its path has at least one byte, which is counted.
    const FILE_FRAME_BYTES: u64 = 24;
    /// No guest can leave more.
    const FILES_MAX: u64 = 4096;
    let frame = FRAME_BYTES + FILE_FRAME_BYTES * output_bytes_max.min(FILES_MAX);
    output_bytes_max.checked_add(frame).and_then(sealed_length).unwrap_or(u64::MAX)
}

/// An executor ends its task, or what it can do for it.
pub(crate) fn complete(view: &mut View, genesis: &Genesis, completion: &Completion) -> Result<(), Halt> {
    let receipt = completion.receipt.unverified();
    let id = receipt.task;
    let (open, assigned) = tasks::assigned(view, &id, receipt.attempt)?;
    check_receipt(view, completion, &assigned)?;
    let objects = objects::states_of_task(view, &open.task)?;
    let positions = tasks::check_releases(&open, &assigned, &objects, &completion.releases)?;
    free(view, id, &assigned)?;
    if outlived_its_verdict(view, &open, &assigned, &receipt.outcome) {
        return tasks::ask_another(view, id, open);
    }
    let failure = match &receipt.outcome {
        Outcome::Done(result) => {
            check_enough(&open, &objects, &positions)?;
            check_result(view, genesis, result, &assigned, &completion.storage)?;
            None
        }
        Outcome::Failed(class) => {
            if class.guest_at_fault() {
                // The guest cannot have been at fault before its key, and those of its data, were there.
                check_enough(&open, &objects, &positions)?;
            }
            Some(*class)
        }
    };
    let owed = objects.iter().zip(&assigned.owner_prices);
    let owed = owed.map(|(object, price)| Owed { owner: object.owner, kind: object.kind, price: *price });
    let payments = payments(genesis, &open.task, open.locked, &owed.collect::<Vec<_>>(), completion);
    let settlement = Settlement {
        task: id,
        receipt: Some(completion.receipt.clone()),
        releases: completion.releases.clone(),
        storage: completion.storage.clone(),
        payments,
    };
    settle(view, settlement, failure)
}

/// Gives back the executor's slot, and takes the deadline off the schedule.
fn free(view: &mut View, id: TaskId, assigned: &AssignedTask) -> Result<(), Halt> {
    nodes::change(view, &assigned.executor, |node| node.running = node.running.saturating_sub(1))?;
    pages::remove(view, Deadline { at_ms: assigned.deadline_ms, task: id })?;
    tasks::look_again(view)
}

/// Whether the executor got no keys and can get none any more, because the verdict it was drawn with has run out. That is
/// no reason for another node to fail as well.
fn outlived_its_verdict(view: &View, open: &OpenTask, assigned: &AssignedTask, outcome: &Outcome) -> bool {
    let no_keys = *outcome == Outcome::Failed(FailureClass::Keys);
    no_keys && open.attempt < ATTEMPTS_MAX && view.time_ms() >= assigned.verdict_expires_ms
}

/// Nobody answered, or nobody may: all of it goes back.
pub(crate) fn refund(view: &mut View, id: TaskId, open: &OpenTask) -> Result<(), Halt> {
    let payments = Payments { left: open.locked, list: Vec::new() }.refund(open.task.requester);
    let settlement = Settlement { task: id, receipt: None, releases: Vec::new(), storage: Vec::new(), payments };
    settle(view, settlement, Some(FailureClass::Lapsed))
}

fn settle(view: &mut View, settlement: Settlement, failure: Option<FailureClass>) -> Result<(), Halt> {
    let id = settlement.task;
    view.expect(settlement.payments.iter().map(|payment| key::account(&payment.to)))?;
    for payment in &settlement.payments {
        money::move_credits(view, &AccountId::ESCROW, &payment.to, payment.amount)?;
    }
    let record = view.record(Fact::Settlement(Box::new(settlement)));
    view.put(key::task(&id), &TaskState::Settled(SettledTask { record, failure }));
    Ok(())
}

fn check_receipt(view: &View, completion: &Completion, assigned: &AssignedTask) -> Result<(), Refusal> {
    let receipt = completion.receipt.unverified();
    if receipt.executor != assigned.executor {
        let (executor, sender) = (assigned.executor, receipt.executor);
        return Err(Refusal::NotExecutor { task: receipt.task, executor, sender });
    }
    if receipt.assignment != assigned.record {
        return Err(Refusal::Assignment { expected: assigned.record, got: receipt.assignment });
    }
    let (deadline_ms, time_ms) = (assigned.deadline_ms, view.time_ms());
    if time_ms > deadline_ms {
        return Err(Refusal::Late { deadline_ms, time_ms });
    }
    Ok(())
}

/// For each object, releases of at least its threshold of shares.
fn check_enough(open: &OpenTask, objects: &[ObjectState], positions: &[usize]) -> Result<(), Refusal> {
    for (position, (object, state)) in open.task.objects().zip(objects).enumerate() {
        let got = positions.iter().filter(|other| **other == position).count();
        let needed = usize::from(state.threshold);
        if got < needed {
            return Err(Refusal::ReleasesNeeded { object, got, needed });
        }
    }
    Ok(())
}

/// The result is small enough and stored by others.
fn check_result(
    view: &mut View,
    genesis: &Genesis,
    result: &ResultSeal,
    assigned: &AssignedTask,
    storage: &[Signed<StorageAck>],
) -> Result<(), Halt> {
    let bytes_max = result_bytes_max(assigned.output_bytes_max);
    if result.ciphertext_bytes > bytes_max {
        return Err(Refusal::Output { bytes: result.ciphertext_bytes, bytes_max }.into());
    }
    let content = Stored {
        ciphertext: result.ciphertext,
        ciphertext_bytes: result.ciphertext_bytes,
        leaves: result.leaves,
        by: assigned.executor,
    };
    objects::check_storage(view, genesis, &content, storage)
}

/// What one object's owner is owed for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The owner.
    pub owner: AccountId,
    /// What the object is, which is the reason of the payment.
    pub kind: ObjectKind,
    /// The price under the terms that were applied.
    pub price: u64,
}

/// How `locked` credits are divided when a task ends with this outcome. A pure function of what stands in the log, so
/// that a verifier computes it again.
///
/// `owed` is in the order of [`Task::objects`]. Owners are paid for a success alone; the network fee is paid for a
/// success and for a failure of the guest; what is left goes back to the requester.
pub fn payments(genesis: &Genesis, task: &Task, locked: u64, owed: &[Owed], completion: &Completion) -> Vec<Payment> {
    let mut payments = Payments { left: locked, list: Vec::new() };
    match &completion.receipt.unverified().outcome {
        Outcome::Done(result) => {
            payments.owners(owed);
            payments.network(genesis, task, completion, Some(&result.ciphertext));
        }
        Outcome::Failed(class) if class.guest_at_fault() => payments.network(genesis, task, completion, None),
        Outcome::Failed(_) => {}
    }
    payments.refund(task.requester)
}

/// Divides what was locked for a task. Nothing is ever given that is not left.
struct Payments {
    left: u64,
    list: Vec<Payment>,
}

impl Payments {
    /// Gives `amount` of what is left; several payments to one account for one reason are one.
    fn give(&mut self, to: AccountId, amount: u64, reason: &str) {
        let amount = amount.min(self.left);
        if amount == 0 {
            return;
        }
        self.left -= amount;
        match self.list.iter_mut().find(|payment| payment.to == to && payment.reason == reason) {
            Some(payment) => payment.amount += amount,
            None => self.list.push(Payment { to, amount, reason: reason.to_owned() }),
        }
    }

    fn owners(&mut self, owed: &[Owed]) {
        for owed in owed {
            self.give(owed.owner, owed.price, &owed.kind.to_string());
        }
    }

    /// The whole network fee: executor, custodians, storage, validators; what does not divide, or finds nobody, goes to
    /// the treasury.
    fn network(&mut self, genesis: &Genesis, task: &Task, completion: &Completion, result: Option<&ContentId>) {
        // It fits: the same sum was locked.
        let fee = money::network_fee(genesis, &task.limits, 1 + task.inputs.len() as u64).unwrap_or_default();
        let before = self.left;
        self.give(completion.receipt.unverified().executor, fee.executor, "executor");
        for object in task.objects() {
            let released = completion.releases.iter().map(Signed::unverified);
            let released = released.filter(|release| release.object == object).map(|release| release.custodian);
            self.share(&released.collect::<Vec<_>>(), fee.custodians_per_object, "custodian");
        }
        let stored = completion.storage.iter().map(Signed::unverified);
        let stored = stored.filter(|ack| Some(&ack.content) == result).take(genesis.limits.copies as usize);
        for ack in stored {
            self.give(ack.node, fee.storage_per_copy, "storage");
        }
        let validators: Vec<NodeId> = genesis.validators.iter().map(|validator| validator.node).collect();
        self.share(&validators, fee.validators, "validator");
        let given = before - self.left;
        let whole = fee.total().unwrap_or(given);
        self.give(AccountId::TREASURY, whole.saturating_sub(given), "remainder");
    }

    fn share(&mut self, among: &[AccountId], amount: u64, reason: &str) {
        let each = amount.checked_div(among.len() as u64).unwrap_or(0);
        for account in among {
            self.give(*account, each, reason);
        }
    }

    fn refund(mut self, requester: AccountId) -> Vec<Payment> {
        self.give(requester, self.left, "refund");
        self.list
    }
}

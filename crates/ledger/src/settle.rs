//! The end of a task: the receipt is checked against what it rests on, and everybody is paid in the same block.

use model::{
    AccountId, Completion, Fact, FailureClass, Genesis, NodeId, Outcome, Payment, Release, ResultSeal, Settlement,
    Signed, StorageAck, TaskId,
};

use crate::{
    Refusal, key,
    money::{self, NetworkFee},
    nodes,
    objects::{self, Stored},
    state::{AssignedTask, Deadline, ObjectState, OpenTask, SettledTask, TaskState},
    tasks,
    view::{Halt, View},
};

/// What the frame of a result may add to the output: names, the exit code, 64 KiB of stderr, padding and tags.
const RESULT_FRAME_BYTES: u64 = 1 << 20;

/// An executor ends its task.
pub(crate) fn complete(view: &mut View, genesis: &Genesis, completion: &Completion) -> Result<(), Halt> {
    let receipt = completion.receipt.unverified();
    let id = receipt.task;
    let (open, assigned) = tasks::assigned(view, &id, receipt.attempt)?;
    check_receipt(view, completion, &assigned)?;
    let objects = objects::states_of_task(view, &open.task)?;
    let positions = tasks::check_releases(&open, &assigned, &objects, &completion.releases)?;
    let mut payments = Payments::new(&open);
    match &receipt.outcome {
        Outcome::Done(result) => {
            check_enough(&open, &objects, &positions)?;
            let stored_by = check_result(view, genesis, result, &assigned, &completion.storage)?;
            payments.owners(&objects, &assigned.owner_prices);
            payments.network(genesis, &assigned, completion, &positions, &stored_by);
        }
        Outcome::Failed(class) if class.guest_at_fault() => {
            // The guest cannot have been at fault before its key, and that of its data, were there.
            check_enough(&open, &objects, &positions)?;
            payments.network(genesis, &assigned, completion, &positions, &[]);
        }
        Outcome::Failed(_) => {}
    }
    let failure = match &receipt.outcome {
        Outcome::Done(_) => None,
        Outcome::Failed(class) => Some(*class),
    };
    nodes::change(view, &assigned.executor, |node| node.running = node.running.saturating_sub(1))?;
    view.eligible_changed = true;
    let deadline = Deadline { at_ms: assigned.deadline_ms, task: id };
    view.schedule_mut()?.deadlines.retain(|other| *other != deadline);
    let settlement = Settlement {
        task: id,
        receipt: Some(completion.receipt.clone()),
        releases: completion.releases.clone(),
        storage: completion.storage.clone(),
        payments: payments.finish(),
    };
    settle(view, settlement, failure)
}

/// Nobody answered, or nobody may: all of it goes back.
pub(crate) fn refund(view: &mut View, id: TaskId, open: &OpenTask) -> Result<(), Halt> {
    let payments = Payments::new(open).finish();
    let settlement = Settlement { task: id, receipt: None, releases: Vec::new(), storage: Vec::new(), payments };
    settle(view, settlement, Some(FailureClass::Lapsed))
}

fn settle(view: &mut View, settlement: Settlement, failure: Option<FailureClass>) -> Result<(), Halt> {
    let id = settlement.task;
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

/// The result is small enough and stored by others. Answers by whom.
fn check_result(
    view: &mut View,
    genesis: &Genesis,
    result: &ResultSeal,
    assigned: &AssignedTask,
    storage: &[Signed<StorageAck>],
) -> Result<Vec<NodeId>, Halt> {
    let allowed = assigned.output_bytes_max;
    let bytes_max = allowed.saturating_add(allowed / 8).saturating_add(RESULT_FRAME_BYTES);
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

/// Divides what was locked for a task. Whatever is not given to somebody goes back to the requester.
struct Payments {
    requester: AccountId,
    network_fee: NetworkFee,
    left: u64,
    list: Vec<Payment>,
}

impl Payments {
    fn new(open: &OpenTask) -> Self {
        let network = open.network_fee.total().unwrap_or(u64::MAX);
        // This sum was computed, checked, when it was locked.
        let left = open.owner_prices.iter().fold(network, |sum, price| sum.saturating_add(*price));
        Self { requester: open.task.requester, network_fee: open.network_fee, left, list: Vec::new() }
    }

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

    /// Each owner's price under the terms that were applied.
    fn owners(&mut self, objects: &[ObjectState], prices: &[u64]) {
        for (object, price) in objects.iter().zip(prices) {
            self.give(object.owner, *price, &object.kind.to_string());
        }
    }

    /// The whole network fee: executor, custodians, storage, validators; what does not divide, or finds nobody, goes to
    /// the treasury.
    fn network(
        &mut self,
        genesis: &Genesis,
        assigned: &AssignedTask,
        completion: &Completion,
        positions: &[usize],
        stored_by: &[NodeId],
    ) {
        let fee = self.network_fee;
        let before = self.left;
        self.give(assigned.executor, fee.executor, "executor");
        for position in 0..assigned.terms.len() {
            let of_object =
                |(release, at): (&Signed<Release>, &usize)| (*at == position).then(|| release.unverified().custodian);
            let custodians: Vec<NodeId> = completion.releases.iter().zip(positions).filter_map(of_object).collect();
            self.share(&custodians, fee.custodians_per_object, "custodian");
        }
        for node in stored_by.iter().take(usize::try_from(fee.copies).unwrap_or(usize::MAX)) {
            self.give(*node, fee.storage_per_copy, "storage");
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

    fn finish(mut self) -> Vec<Payment> {
        let (requester, left) = (self.requester, self.left);
        self.give(requester, left, "refund");
        self.list
    }
}

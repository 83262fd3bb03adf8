//! One block: what is due, then the transactions.

use model::{AccountId, Action, Canonical, Digest, Genesis, NetworkId, Signed, Transaction};

use crate::{
    BlockInput, Checked, Due, Executed, GAP_MS_MAX, Key, Memo, Mode, Reads, Refusal, Stop, key, money, nodes, objects,
    settle, tasks,
    view::{Halt, View},
};

/// Executes a block on the state after its parent.
///
/// # Errors
/// [`Stop::Missing`] if values are not fetched: fetch them and call again with the same input; nothing has happened.
/// [`Stop::Transaction`] in [`Mode::Verify`] if one is refused; [`Stop::Block`] if the block cannot even begin;
/// [`Stop::Damaged`] if this node's state is at fault.
pub fn execute(
    genesis: &Genesis,
    network: &NetworkId,
    block: &BlockInput,
    state: &dyn Reads,
    mode: Mode,
) -> Result<Executed, Stop> {
    execute_remembering(genesis, network, block, state, mode, &Memo::default())
}

/// The same, without checking signatures again of transactions that `memo` has seen pass.
///
/// # Errors
/// As [`execute`].
pub fn execute_remembering(
    genesis: &Genesis,
    network: &NetworkId,
    block: &BlockInput,
    state: &dyn Reads,
    mode: Mode,
    memo: &Memo,
) -> Result<Executed, Stop> {
    let mut view = View::new(state, *network, block.height, block.time_ms);
    let transactions: Vec<_> =
        block.transactions.iter().map(|bytes| Checked::remembering(bytes, network, memo)).collect();
    // Asked for together, so that one fetch usually brings everything.
    let hints = transactions.iter().flatten().flat_map(|checked| reads(checked.transaction()));
    let hints: Vec<Key> = hints.chain(always()).collect();
    let prefetched = view.expect(hints);

    match begin(&mut view, genesis, block) {
        // What else is missing may be found out at once.
        Ok(()) | Err(Halt::Missing) => {}
        Err(halt) => return Err(stop(&view, halt)),
    }
    let mut executed = Executed::default();
    for (position, checked) in transactions.into_iter().enumerate() {
        let outcome = match checked {
            Ok(checked) => view.step(|view| transaction(view, genesis, &checked)),
            Err(refusal) => Err(refusal.into()),
        };
        match outcome {
            Ok(()) => executed.included.push(position),
            Err(Halt::Missing) => {}
            Err(halt @ Halt::Damaged(_)) => return Err(stop(&view, halt)),
            // Once something is missing, later refusals may be for lack of it: only the list of keys counts then.
            Err(Halt::Refused(_)) if !view.missing().is_empty() => {}
            Err(Halt::Refused(refusal)) if mode == Mode::Verify => {
                return Err(Stop::Transaction { position, refusal });
            }
            Err(Halt::Refused(refusal)) => executed.refused.push((position, *refusal)),
        }
    }
    let missing = view.missing();
    if !missing.is_empty() || prefetched.is_err() {
        return Err(Stop::Missing(missing));
    }
    executed.due = due(&mut view).map_err(|halt| stop(&view, halt))?;
    (executed.writes, executed.records) = view.finish();
    Ok(executed)
}

fn stop(view: &View, halt: Halt) -> Stop {
    match halt {
        Halt::Missing => Stop::Missing(view.missing()),
        Halt::Refused(refusal) => Stop::Block(refusal),
        Halt::Damaged(key) => Stop::Damaged(Digest(key)),
    }
}

/// What a block does before its transactions.
fn begin(view: &mut View, genesis: &Genesis, block: &BlockInput) -> Result<(), Halt> {
    if block.height == 1 {
        view.step(|view| allocate(view, genesis))?;
    }
    view.step(|view| nodes::open_window(view, genesis, block.seed))?;
    view.step(tasks::count_waiting)?;
    tasks::lapse_overdue(view)?;
    tasks::draw_waiting(view, genesis, block.seed)
}

/// The credits of the beginning. Nothing creates credits after this.
fn allocate(view: &mut View, genesis: &Genesis) -> Result<(), Halt> {
    let mut supply: u64 = 0;
    for allocation in &genesis.allocations {
        supply = supply.checked_add(allocation.amount).ok_or(Refusal::Overflow { what: "the supply" })?;
        let mut account = money::account(view, &allocation.account)?;
        account.balance += allocation.amount;
        view.put(key::account(&allocation.account), &account);
    }
    Ok(())
}

/// One transaction: in turn, paid for, admitted.
fn transaction(view: &mut View, genesis: &Genesis, checked: &Checked) -> Result<(), Halt> {
    let Transaction { account, nonce, action } = checked.transaction();
    take_turn(view, account, *nonce)?;
    let fee = money::transaction_fee(&genesis.fees, checked.bytes())?;
    if let Action::TopUp { amount } = action {
        // First: the fee comes out of what is given.
        top_up(view, genesis, account, *amount)?;
    }
    money::move_credits(view, account, &AccountId::TREASURY, fee)?;
    act(view, genesis, account, action).map_err(|halt| with_fee(halt, account, fee))
}

/// What a transaction does, once its fee is paid.
fn act(view: &mut View, genesis: &Genesis, account: &AccountId, action: &Action) -> Result<(), Halt> {
    match action {
        Action::TopUp { .. } => Ok(()),
        Action::Transfer { to, amount } => transfer(view, account, to, *amount),
        Action::Publish { object, terms } => objects::publish(view, genesis, object, terms),
        Action::SetTerms { terms } => objects::set_terms(view, terms),
        Action::Attest(attestation) => nodes::attest(view, genesis, attestation),
        Action::Submit { task } => tasks::submit(view, genesis, task),
        Action::PostReleases { task, releases } => tasks::post_releases(view, account, task, releases),
        Action::Complete(completion) => settle::complete(view, genesis, completion),
    }
}

/// What an account lacks is told with the fee, which a refused transaction does not take: else it would seem poorer than it
/// is, and topping up by the difference would not be enough.
fn with_fee(halt: Halt, account: &AccountId, fee: u64) -> Halt {
    match halt {
        Halt::Refused(refusal) => match *refusal {
            Refusal::Balance { account: poor, available, needed } if poor == *account => {
                let (available, needed) = (available.saturating_add(fee), needed.saturating_add(fee));
                Refusal::Balance { account: poor, available, needed }.into()
            }
            other => other.into(),
        },
        halt => halt,
    }
}

fn take_turn(view: &mut View, id: &AccountId, nonce: u64) -> Result<(), Halt> {
    let mut account = money::account(view, id)?;
    if account.nonce != nonce {
        return Err(Refusal::Nonce { account: *id, expected: account.nonce, got: nonce }.into());
    }
    account.nonce = account.nonce.checked_add(1).ok_or(Refusal::Overflow { what: "the nonce" })?;
    view.put(key::account(id), &account);
    Ok(())
}

fn top_up(view: &mut View, genesis: &Genesis, account: &AccountId, amount: u64) -> Result<(), Halt> {
    if amount > genesis.top_up_max {
        return Err(Refusal::TopUp { amount, max: genesis.top_up_max }.into());
    }
    money::move_credits(view, &AccountId::FAUCET, account, amount)
}

fn transfer(view: &mut View, from: &AccountId, to: &AccountId, amount: u64) -> Result<(), Halt> {
    let available = money::account(view, from)?.balance;
    if available < amount {
        return Err(Refusal::Balance { account: *from, available, needed: amount }.into());
    }
    money::move_credits(view, from, to, amount)
}

/// When the next block is wanted.
fn due(view: &mut View) -> Result<Due, Halt> {
    let time_ms = view.time_ms();
    let schedule = view.schedule()?;
    let waits = schedule.waiting.first();
    let drawable = waits.is_some_and(|first| schedule.looked < schedule.ticket || tasks::is_tired(schedule, &first));
    let first = schedule.deadlines.first().map(|deadline| deadline.at_ms);
    let overdue = first.is_some_and(|at_ms| at_ms < time_ms);
    // Waiting is counted in steps of at most this.
    let tick = waits.map(|_| time_ms.saturating_add(GAP_MS_MAX));
    Ok(Due { next_block: drawable || overdue, at_ms: [first, tick].into_iter().flatten().min() })
}

/// Keys that every block reads.
fn always() -> [Key; 2] {
    [key::windows(), key::schedule()]
}

/// Keys that a transaction will probably read: a hint for fetching ahead. What else it needs, [`Stop::Missing`] says.
pub fn reads(transaction: &Transaction) -> Vec<Key> {
    let mut keys = vec![key::account(&transaction.account), key::account(&AccountId::TREASURY)];
    match &transaction.action {
        Action::TopUp { .. } => keys.push(key::account(&AccountId::FAUCET)),
        Action::Transfer { to, .. } => keys.push(key::account(to)),
        Action::Publish { object, .. } => {
            keys.push(key::object(&object.manifest.object_id()));
            let custodians = &object.deposit.unverified().custodians;
            keys.extend(custodians.iter().map(|custodian| key::node(&custodian.node)));
            keys.extend(object.storage.iter().map(|ack| key::node(&ack.unverified().node)));
        }
        Action::SetTerms { terms } => keys.push(key::object(&terms.unverified().object)),
        Action::Attest(attestation) => {
            keys.extend([key::windows(), key::roster()]);
            keys.push(key::node(&attestation.registration.node));
            keys.push(key::registration(&attestation.registration.digest()));
            keys.extend(attestation.votes.iter().map(|vote| key::account(&vote.unverified().appraiser)));
        }
        Action::Submit { task } => {
            keys.extend([key::account(&AccountId::ESCROW), key::task(&task.id()), key::waiting(&task.requester)]);
            keys.extend(task.objects().flat_map(|object| [key::object(&object), key::terms(&object)]));
        }
        Action::PostReleases { task, releases } => {
            keys.push(key::task(task));
            keys.extend(releases.iter().flat_map(|release| {
                let object = release.unverified().object;
                [key::object(&object), key::terms(&object)]
            }));
        }
        Action::Complete(completion) => {
            let receipt = completion.receipt.unverified();
            keys.extend([key::account(&AccountId::ESCROW), key::task(&receipt.task), key::node(&receipt.executor)]);
            for release in completion.releases.iter().map(Signed::unverified) {
                keys.extend([key::object(&release.object), key::terms(&release.object)]);
                keys.push(key::account(&release.custodian));
            }
            for ack in completion.storage.iter().map(Signed::unverified) {
                keys.extend([key::node(&ack.node), key::account(&ack.node)]);
            }
        }
    }
    keys
}

/// Tries a transaction on `state`, as if it were alone in a block at this height and ledger time: for admission, and for
/// telling people why not.
///
/// # Errors
/// [`Stop::Missing`] if values are not fetched. The inner [`Refusal`] is the rule it breaks.
pub fn dry_run(
    genesis: &Genesis,
    network: &NetworkId,
    checked: &Checked,
    state: &dyn Reads,
    height: u64,
    time_ms: u64,
) -> Result<Result<(), Refusal>, Stop> {
    let mut view = View::new(state, *network, height, time_ms);
    let hints = view.expect(reads(checked.transaction()).into_iter().chain(always()));
    match hints.and_then(|()| transaction(&mut view, genesis, checked)) {
        Ok(()) => Ok(Ok(())),
        Err(Halt::Refused(refusal)) => Ok(Err(*refusal)),
        Err(halt) => Err(stop(&view, halt)),
    }
}

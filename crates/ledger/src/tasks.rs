//! Tasks before they end: asked for, drawn, lapsed.

use model::{
    AccountId, Assignment, CustodyMode, Fact, Genesis, Limits, NodeId, Release, Seed, Signed, Task, TaskId, Terms,
    TermsApplied,
};

use crate::{
    ATTEMPTS_MAX, DUE_MAX, GAP_MS_MAX, Refusal, WAIT_MS_MAX, WAITING_MAX, WAITING_PER_REQUESTER_MAX, check,
    draw::{self, Candidate},
    key, money, nodes, objects, pages, settle,
    state::{AssignedTask, Deadline, NodeState, ObjectState, OpenTask, Schedule, TaskState, Waiting},
    view::{Halt, View},
};

/// Locks the price of a task and puts it into the queue for the draw.
pub(crate) fn submit(view: &mut View, genesis: &Genesis, task: &Task) -> Result<(), Halt> {
    let id = task.id();
    if view.get::<TaskState>(&key::task(&id))?.is_some() {
        return Err(Refusal::TaskKnown { task: id }.into());
    }
    check_limits(genesis, task)?;
    let objects = objects::of_task(view, task)?;
    check_kinds(task, &objects)?;
    let time_ms = view.time_ms();
    for (state, terms) in &objects {
        terms.admit(task, time_ms).map_err(Refusal::from)?;
        check_uses(state, terms)?;
    }
    let price = money::quote(genesis, &task.limits, objects.iter().map(|(_, terms)| terms))?;
    if price.total > task.price_max {
        return Err(Refusal::Price { price: price.total, price_max: task.price_max }.into());
    }
    check_queue(view, &task.requester)?;
    money::move_credits(view, &task.requester, &AccountId::ESCROW, price.total)?;
    let open = OpenTask {
        task: task.clone(),
        owner_prices: price.owners,
        locked: price.total,
        attempt_ms: attempt_ms(genesis, &task.limits, objects.iter().map(|(state, _)| state.ciphertext_bytes)),
        attempt: 1,
        lapsed: None,
        assigned: None,
        released: Vec::new(),
    };
    view.put(key::task(&id), &TaskState::Open(Box::new(open)));
    view.record(Fact::Task(Box::new(task.clone())));
    enqueue(view, id, &task.requester)
}

fn check_queue(view: &mut View, requester: &AccountId) -> Result<(), Halt> {
    let waiting = view.schedule()?.waiting.len();
    if waiting >= WAITING_MAX {
        return Err(Refusal::Busy { waiting }.into());
    }
    let waiting = view.get(&key::waiting(requester))?.unwrap_or(0);
    if waiting >= WAITING_PER_REQUESTER_MAX {
        return Err(Refusal::RequesterBusy { requester: *requester, waiting }.into());
    }
    Ok(())
}

fn check_limits(genesis: &Genesis, task: &Task) -> Result<(), Refusal> {
    let (asked, max) = (&task.limits, &genesis.limits.task);
    for (what, asked, max) in [
        ("run time (milliseconds)", asked.run_ms, max.run_ms),
        ("memory (bytes)", asked.memory_bytes, max.memory_bytes),
        ("output (bytes)", asked.output_bytes, max.output_bytes),
    ] {
        if asked > max {
            return Err(Refusal::Limit { what, asked, max });
        }
    }
    Ok(())
}

fn check_kinds(task: &Task, objects: &[(ObjectState, Terms)]) -> Result<(), Refusal> {
    use model::ObjectKind::{Data, Program};
    for (position, (object, (state, _))) in task.objects().zip(objects).enumerate() {
        let expected = if position == 0 { Program } else { Data };
        if state.kind != expected {
            return Err(Refusal::Kind { object, expected });
        }
    }
    Ok(())
}

fn check_uses(state: &ObjectState, terms: &Terms) -> Result<(), Refusal> {
    match terms.uses_max {
        Some(uses_max) if state.uses >= uses_max => Err(Refusal::UsesSpent { object: terms.object, uses_max }),
        _ => Ok(()),
    }
}

/// How long an attempt may take, milliseconds: what the task declares for its program, the network's overhead, and the time to
/// fetch the ciphertext of all objects and to hand on the result at 8 KiB a millisecond, about 65 Mbit/s.
pub fn attempt_ms(genesis: &Genesis, limits: &Limits, ciphertext_bytes: impl IntoIterator<Item = u64>) -> u64 {
    const BYTES_PER_MS: u64 = 8 << 10;
    let bytes = ciphertext_bytes.into_iter().fold(limits.output_bytes, u64::saturating_add);
    limits.run_ms.saturating_add(genesis.limits.overhead_ms).saturating_add(bytes / BYTES_PER_MS)
}

/// How much of an attempt a program may take for being compiled, milliseconds: half of the network's overhead. One that is not
/// compiled by its deadline although it had that long has reached a limit; the other half is for keys and receipt.
pub fn compile_ms(genesis: &Genesis) -> u64 {
    genesis.limits.overhead_ms / 2
}

/// Puts a task at the end of the queue. It is drawn two blocks from now, with a seed that nobody knows yet.
fn enqueue(view: &mut View, task: TaskId, requester: &AccountId) -> Result<(), Halt> {
    let (height, time_ms) = (view.height(), view.time_ms());
    let schedule = view.schedule_mut()?;
    if schedule.waiting.is_empty() {
        schedule.counted_ms = time_ms;
    }
    schedule.ticket += 1;
    let waiting = Waiting { ticket: schedule.ticket, task, height, since_alive_ms: schedule.alive_ms };
    pages::insert(view, waiting)?;
    count(view, requester, |waiting| waiting + 1)
}

/// Takes a task out of the queue.
fn dequeue(view: &mut View, waiting: &Waiting, requester: &AccountId) -> Result<(), Halt> {
    pages::remove(view, *waiting)?;
    count(view, requester, |waiting| waiting.saturating_sub(1))
}

/// Changes how many tasks of a requester wait.
fn count(view: &mut View, requester: &AccountId, change: impl FnOnce(u32) -> u32) -> Result<(), Halt> {
    let key = key::waiting(requester);
    match change(view.get(&key)?.unwrap_or(0)) {
        0 => view.remove(key),
        waiting => view.put(key, &waiting),
    }
    Ok(())
}

/// Something has changed that may help tasks for which nobody was eligible: they are looked at in the next block.
pub(crate) fn look_again(view: &mut View) -> Result<(), Halt> {
    let schedule = view.schedule()?;
    if schedule.looked > 0 && !schedule.waiting.is_empty() {
        view.schedule_mut()?.looked = 0;
    }
    Ok(())
}

/// Whether the seed of a block at `height` was unknown when a task began to wait.
fn is_ripe(waiting: &Waiting, height: u64) -> bool {
    waiting.height.saturating_add(2) <= height
}

/// Whether a task has waited for as long as any may.
pub(crate) fn is_tired(schedule: &Schedule, waiting: &Waiting) -> bool {
    schedule.alive_ms.saturating_sub(waiting.since_alive_ms) >= WAIT_MS_MAX
}

/// Counts how long tasks have waited, without the time in which there was no ledger.
pub(crate) fn count_waiting(view: &mut View) -> Result<(), Halt> {
    let time_ms = view.time_ms();
    if view.schedule()?.waiting.is_empty() {
        return Ok(());
    }
    let schedule = view.schedule_mut()?;
    let gap_ms = time_ms.saturating_sub(schedule.counted_ms).min(GAP_MS_MAX);
    schedule.alive_ms = schedule.alive_ms.saturating_add(gap_ms);
    schedule.counted_ms = time_ms;
    Ok(())
}

/// Deals with deadlines that have passed, oldest first, at most [`DUE_MAX`] of them.
pub(crate) fn lapse_overdue(view: &mut View) -> Result<(), Halt> {
    let time_ms = view.time_ms();
    let due = pages::collect(view, None, DUE_MAX, |deadline: &Deadline| deadline.at_ms < time_ms)?;
    view.expect(due.iter().map(|deadline| key::task(&deadline.task)))?;
    let mut keys = Vec::new();
    for deadline in &due {
        if let Some(TaskState::Open(open)) = view.get(&key::task(&deadline.task))? {
            keys.push(key::waiting(&open.task.requester));
            keys.extend(open.assigned.map(|assigned| key::node(&assigned.executor)));
        }
    }
    view.expect(keys)?;
    for deadline in due {
        view.step(|view| lapse(view, deadline))?;
    }
    Ok(())
}

/// Nobody answered in time: another executor, once; then the requester's money back.
fn lapse(view: &mut View, deadline: Deadline) -> Result<(), Halt> {
    pages::remove(view, deadline)?;
    let id = deadline.task;
    let Some(TaskState::Open(open)) = view.get(&key::task(&id))? else { return Ok(()) };
    let Some(assigned) = &open.assigned else { return Ok(()) };
    nodes::change(view, &assigned.executor, |node| {
        node.running = node.running.saturating_sub(1);
        node.lapsed = true;
    })?;
    if open.attempt == ATTEMPTS_MAX { settle::refund(view, id, &open) } else { ask_another(view, id, *open) }
}

/// Puts a task whose attempt has come to nothing at the end of the queue, for somebody else.
pub(crate) fn ask_another(view: &mut View, id: TaskId, mut open: OpenTask) -> Result<(), Halt> {
    open.lapsed = open.assigned.take().map(|assigned| assigned.executor);
    open.attempt += 1;
    open.released = Vec::new();
    let requester = open.task.requester;
    view.put(key::task(&id), &TaskState::Open(Box::new(open)));
    enqueue(view, id, &requester)
}

/// Draws executors for tasks that have waited for two blocks, at most [`DUE_MAX`] of them. A task for which no node is
/// eligible stays in the queue; it is looked at again when something has changed ([`look_again`]), and refunded when it has
/// waited for [`WAIT_MS_MAX`].
pub(crate) fn draw_waiting(view: &mut View, genesis: &Genesis, seed: Option<Seed>) -> Result<(), Halt> {
    // The first block after genesis, and after a change of committee, has no seed; the next one has.
    let Some(seed) = seed else { return Ok(()) };
    let height = view.height();
    if view.schedule()?.waiting.first().is_none_or(|first| !is_ripe(&first, height)) {
        return Ok(());
    }
    // Fetched together with what waits.
    let roster = view.expect([key::roster()]);
    let ripe = due_for_a_draw(view)?;
    roster?;
    let Some(last) = ripe.last().map(|waiting| waiting.ticket) else { return Ok(()) };
    let schedule = view.schedule()?.clone();
    let tired = |waiting: &Waiting| is_tired(&schedule, waiting);
    let mut pool = pool(view, genesis)?;
    // With nobody to draw from, only tasks that have waited too long are looked at.
    let look_at: Vec<Waiting> = ripe.into_iter().filter(|waiting| !pool.is_empty() || tired(waiting)).collect();
    prefetch(view, &look_at)?;
    let (mut done, mut looked) = (0, last);
    for waiting in look_at {
        if done == DUE_MAX {
            looked = waiting.ticket - 1;
            break;
        }
        if pool.is_empty() && !tired(&waiting) {
            continue;
        }
        let gone = view.step(|view| draw_one(view, genesis, seed, &waiting, tired(&waiting), &mut pool))?;
        done += usize::from(gone);
    }
    view.step(|view| {
        let schedule = view.schedule_mut()?;
        schedule.looked = schedule.looked.max(looked);
        Ok(())
    })
}

/// Tasks that have waited for two blocks: those that have waited too long, and those that nobody has looked at since
/// something changed. In the order they asked.
fn due_for_a_draw(view: &mut View) -> Result<Vec<Waiting>, Halt> {
    let (height, schedule) = (view.height(), view.schedule()?.clone());
    let Some(first) = schedule.waiting.first() else { return Ok(Vec::new()) };
    let is_tired = |waiting: &Waiting| is_ripe(waiting, height) && is_tired(&schedule, waiting);
    let mut due = pages::collect(view, None, usize::MAX, is_tired)?;
    let looked = due.last().map_or(schedule.looked, |last| last.ticket.max(schedule.looked));
    if looked < schedule.ticket {
        // A task after all those that were looked at: tickets come first in the order.
        let after = Waiting { ticket: looked, task: TaskId([0xff; 32]), height: u64::MAX, since_alive_ms: u64::MAX };
        let after = (looked >= first.ticket).then_some(after);
        due.extend(pages::collect(view, after, usize::MAX, |waiting| is_ripe(waiting, height))?);
    }
    Ok(due)
}

/// Asks for everything the draws will read and change, so that a few fetches bring it all.
fn prefetch(view: &mut View, waiting: &[Waiting]) -> Result<(), Halt> {
    view.expect(waiting.iter().map(|waiting| key::task(&waiting.task)))?;
    let mut keys = Vec::new();
    for waiting in waiting {
        if let Some(TaskState::Open(open)) = view.get(&key::task(&waiting.task))? {
            keys.extend(open.task.objects().flat_map(|object| [key::object(&object), key::terms(&object)]));
            keys.push(key::waiting(&open.task.requester));
            let at_ms = deadline_ms(view.time_ms(), &open);
            keys.extend(pages::home(view, Deadline { at_ms, task: waiting.task })?);
        }
    }
    view.expect(keys)
}

/// When a task that is assigned at `time_ms` lapses.
fn deadline_ms(time_ms: u64, open: &OpenTask) -> u64 {
    time_ms.saturating_add(open.attempt_ms)
}

/// Nodes that could run something now: a verdict that holds, no lapsed task since, a free slot.
fn pool(view: &mut View, genesis: &Genesis) -> Result<Vec<(NodeId, NodeState)>, Halt> {
    let mut pool = nodes::all_fresh(view)?;
    pool.retain(|(_, node)| !node.lapsed && node.running < genesis.limits.slots_per_node);
    Ok(pool)
}

/// Draws an executor for one task, or refunds it. Answers whether the task has left the queue.
fn draw_one(
    view: &mut View,
    genesis: &Genesis,
    seed: Seed,
    waiting: &Waiting,
    tired: bool,
    pool: &mut Vec<(NodeId, NodeState)>,
) -> Result<bool, Halt> {
    let id = waiting.task;
    let Some(TaskState::Open(open)) = view.get(&key::task(&id))? else {
        return Err(Halt::Damaged(key::task(&id)));
    };
    let requester = open.task.requester;
    let objects = objects::of_task(view, &open.task)?;
    if !still_admitted(view.time_ms(), &open, &objects) {
        dequeue(view, waiting, &requester)?;
        settle::refund(view, id, &open)?;
        return Ok(true);
    }
    let list = eligible(genesis, view.time_ms(), seed, &id, &open, &objects, pool);
    if list.is_empty() {
        if tired {
            dequeue(view, waiting, &requester)?;
            settle::refund(view, id, &open)?;
        }
        return Ok(tired);
    }
    dequeue(view, waiting, &requester)?;
    let executor = assign(view, seed, id, *open, objects, &list)?;
    occupy(view, genesis, pool, &executor)?;
    Ok(true)
}

/// Whether the terms that hold now still admit the task at the price that is locked. Between the request and the draw an
/// owner may have changed them, and another task may have taken the last use. A re-draw spends no second use.
fn still_admitted(time_ms: u64, open: &OpenTask, objects: &[(ObjectState, Terms)]) -> bool {
    objects.iter().zip(&open.owner_prices).all(|((state, terms), locked)| {
        let use_left = open.attempt > 1 || check_uses(state, terms).is_ok();
        terms.admit(&open.task, time_ms).is_ok() && use_left && terms.price <= *locked
    })
}

/// The list the executor is drawn from ([`draw::entries`]). Strict custody: no custodian of the task's objects.
///
/// Custodians release to nobody whose verdict has run out, so it must last until the deadline; of verdicts so short that
/// this could leave nobody, a quarter must be left.
fn eligible(
    genesis: &Genesis,
    time_ms: u64,
    seed: Seed,
    id: &TaskId,
    open: &OpenTask,
    objects: &[(ObjectState, Terms)],
    pool: &[(NodeId, NodeState)],
) -> Vec<NodeId> {
    let strict = genesis.custody == CustodyMode::Strict;
    let holds_share = |node: &NodeId| objects.iter().any(|(state, _)| state.custodians.contains(node));
    let needed_ms = open.attempt_ms.min(genesis.appraisal.verdict_ms / 4);
    let lasts = |state: &NodeState| state.is_fresh(time_ms.saturating_add(needed_ms));
    let candidates = pool
        .iter()
        .filter(|(node, state)| open.lapsed != Some(*node) && lasts(state) && !(strict && holds_share(node)));
    let candidates = candidates.map(|(node, state)| Candidate {
        node: *node,
        operator: state.operator.clone(),
        endorsement: state.endorsement,
    });
    draw::entries(&seed, id, candidates.collect(), strict)
}

/// Records who was drawn, spends the uses and sets the deadline.
fn assign(
    view: &mut View,
    seed: Seed,
    id: TaskId,
    mut open: OpenTask,
    objects: Vec<(ObjectState, Terms)>,
    list: &[NodeId],
) -> Result<NodeId, Halt> {
    let size = list.len() as u32;
    let index = draw::draw_index(&seed, &id, open.attempt, size);
    let executor = list[index as usize];
    let (eligible_root, path) = draw::commit(list, index).ok_or(Halt::Damaged(key::roster()))?;
    let node: NodeState = view.get(&key::node(&executor))?.ok_or(Halt::Damaged(key::node(&executor)))?;
    let applied = objects.iter().map(|(state, terms)| TermsApplied {
        object: terms.object,
        serial: state.terms_serial,
        digest: state.terms_digest,
    });
    let deadline_ms = deadline_ms(view.time_ms(), &open);
    let assignment = Assignment {
        task: id,
        attempt: open.attempt,
        executor,
        seed,
        eligible_root,
        eligible_size: size,
        index,
        path,
        verdict: node.verdict,
        terms: applied.collect(),
        output_bytes_max: open.task.limits.output_bytes_max(objects.iter().map(|(_, terms)| terms)),
        deadline_ms,
    };
    open.assigned = Some(AssignedTask {
        executor,
        terms: assignment.terms.iter().map(|terms| terms.digest).collect(),
        owner_prices: objects.iter().map(|(_, terms)| terms.price).collect(),
        output_bytes_max: assignment.output_bytes_max,
        verdict_expires_ms: node.expires_ms,
        deadline_ms,
        record: view.record(Fact::Assignment(Box::new(assignment))),
    });
    if open.attempt == 1 {
        spend_uses(view, objects)?;
    }
    view.put(key::task(&id), &TaskState::Open(Box::new(open)));
    pages::insert(view, Deadline { at_ms: deadline_ms, task: id })?;
    Ok(executor)
}

fn spend_uses(view: &mut View, objects: Vec<(ObjectState, Terms)>) -> Result<(), Halt> {
    for (mut state, terms) in objects {
        state.uses = state.uses.checked_add(1).ok_or(Refusal::Overflow { what: "the count of uses" })?;
        view.put(key::object(&terms.object), &state);
    }
    Ok(())
}

/// Takes a slot of the executor, in the state and in the pool of this block's draws.
fn occupy(
    view: &mut View,
    genesis: &Genesis,
    pool: &mut Vec<(NodeId, NodeState)>,
    executor: &NodeId,
) -> Result<(), Halt> {
    nodes::change(view, executor, |node| node.running += 1)?;
    if let Some((_, node)) = pool.iter_mut().find(|(node, _)| node == executor) {
        node.running += 1;
    }
    pool.retain(|(_, node)| node.running < genesis.limits.slots_per_node);
    Ok(())
}

/// The open task a transaction is about, with its assignment.
pub(crate) fn assigned(view: &mut View, id: &TaskId, attempt: u8) -> Result<(OpenTask, AssignedTask), Halt> {
    let state: TaskState = view.get(&key::task(id))?.ok_or(Refusal::TaskUnknown { task: *id })?;
    let TaskState::Open(open) = state else { return Err(Refusal::TaskSettled { task: *id }.into()) };
    if open.attempt != attempt {
        return Err(Refusal::Attempt { task: *id, expected: open.attempt, got: attempt }.into());
    }
    let assigned = open.assigned.clone().ok_or(Refusal::NotAssigned { task: *id })?;
    Ok((*open, assigned))
}

/// A custodian posts what it has released for the attempt under way, once.
///
/// What comes too late is accepted, paid for, and changes nothing: its sender cannot see that the executor or a deadline was
/// faster, and a refusal would hold up what the same node has sent behind it.
pub(crate) fn post_releases(
    view: &mut View,
    custodian: &NodeId,
    id: &TaskId,
    releases: &[Signed<Release>],
) -> Result<(), Halt> {
    let attempt = releases.first().map_or(1, |release| release.unverified().attempt);
    match view.get(&key::task(id))?.ok_or(Refusal::TaskUnknown { task: *id })? {
        TaskState::Settled(_) => return Ok(()),
        TaskState::Open(open) if attempt < open.attempt => return Ok(()),
        TaskState::Open(_) => {}
    }
    let (mut open, assigned) = self::assigned(view, id, attempt)?;
    let Err(at) = open.released.binary_search(custodian) else { return Ok(()) };
    let objects = objects::states_of_task(view, &open.task)?;
    check_releases(&open, &assigned, &objects, releases)?;
    open.released.insert(at, *custodian);
    view.put(key::task(id), &TaskState::Open(Box::new(open)));
    view.record(Fact::Releases(Box::new(model::Releases { task: *id, releases: releases.to_vec() })));
    Ok(())
}

/// Checks that each release is for this run, of a share that its custodian holds. Answers their positions in the task.
pub(crate) fn check_releases(
    open: &OpenTask,
    assigned: &AssignedTask,
    objects: &[ObjectState],
    releases: &[Signed<Release>],
) -> Result<Vec<usize>, Refusal> {
    let id = open.task.id();
    let positions = check::positions(&open.task, releases)?;
    for (release, position) in releases.iter().map(Signed::unverified).zip(&positions) {
        let (state, custodian) = (&objects[*position], release.custodian);
        let holder = usize::from(release.index).checked_sub(1).and_then(|at| state.custodians.get(at));
        if holder != Some(&custodian) {
            return Err(Refusal::NotCustodian { custodian, object: release.object, index: release.index });
        }
        for (what, same) in [
            ("task", release.task == id),
            ("attempt", release.attempt == open.attempt),
            ("executor", release.executor == assigned.executor),
            ("epoch", release.epoch == state.epoch),
            ("terms", release.terms == assigned.terms[*position]),
        ] {
            if !same {
                return Err(Refusal::Release { custodian, what });
            }
        }
    }
    Ok(positions)
}

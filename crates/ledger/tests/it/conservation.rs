//! Hundreds of blocks in which everything happens at once, good and bad, by chance that is the same on every machine.
//! After each block: every credit is accounted for, every turn was taken by a transaction, every task is where it must be.

use std::collections::BTreeMap;

use ledger::{DUE_MAX, Refusal, WAIT_MS_MAX, key, state::*};
use model::*;

use crate::world::*;

/// A generator that is random enough to shuffle a test and the same on every machine (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        (!list.is_empty()).then(|| list[self.roll(list.len() as u64) as usize].clone())
    }
}

/// Where tasks are, as the state says.
#[derive(Default)]
struct Standing {
    waiting: BTreeMap<TaskId, OpenTask>,
    running: BTreeMap<TaskId, OpenTask>,
    settled: usize,
}

struct Play {
    world: World,
    dice: Dice,
    requesters: Vec<Key>,
    programs: Vec<ObjectId>,
    data: Vec<ObjectId>,
    /// Everything that was sent, to be sent again.
    sent: Vec<Vec<u8>>,
    /// How often each kind of action took effect.
    done: BTreeMap<&'static str, usize>,
    redrawn: usize,
}

impl Play {
    fn new(seed: u64, change: impl FnOnce(&mut Genesis)) -> Self {
        let mut world = World::with(change);
        let (program, data) = world.publish_both();
        let requesters = vec![requester(), Key::new(9), Key::new(10)];
        let (programs, data) = (vec![program], vec![data]);
        Self { world, dice: Dice(seed), requesters, programs, data, sent: vec![], done: BTreeMap::new(), redrawn: 0 }
    }

    fn standing(&self) -> Standing {
        let mut standing = Standing::default();
        for task in self.tasks() {
            match self.world.task(&task) {
                TaskState::Open(open) if open.assigned.is_some() => {
                    standing.running.insert(task, *open);
                }
                TaskState::Open(open) => {
                    standing.waiting.insert(task, *open);
                }
                TaskState::Settled(_) => standing.settled += 1,
            }
        }
        standing
    }

    /// Every task that was ever accepted.
    fn tasks(&self) -> Vec<TaskId> {
        let task = |record: &Record| match &record.fact {
            Fact::Task(task) => Some(task.id()),
            _ => None,
        };
        self.world.records.iter().filter_map(task).collect()
    }

    /// Whether the last block belongs to a window whose appraisers are drawn.
    fn window_is_open(&self) -> bool {
        let windows: Windows = self.world.get(&key::windows()).unwrap();
        windows.current.number == self.world.window()
    }

    /// Something that somebody might send, sensible or not.
    fn transaction(&mut self, standing: &Standing) -> Vec<u8> {
        let running: Vec<TaskId> = standing.running.keys().copied().collect();
        let task = self.dice.pick(&running);
        let anybody = Key::new(1 + self.dice.roll(12) as u8);
        match (self.dice.roll(20), task) {
            (0, _) => self.world.transaction(&anybody, Action::TopUp { amount: self.dice.roll(5_002) }),
            (1 | 2, _) => {
                let to = Key::new(1 + self.dice.roll(12) as u8).id();
                self.world.transaction(&anybody, Action::Transfer { to, amount: self.dice.roll(3_000) })
            }
            (3, _) => self.new_terms(),
            (4, _) => self.publish(),
            (5 | 6, _) if self.window_is_open() => {
                let node = nodes()[self.dice.roll(4) as usize].clone();
                self.world.attest(&node)
            }
            (7, Some(task)) => {
                let classes = [FailureClass::Guest, FailureClass::Limit, FailureClass::Keys, FailureClass::Node];
                let class = classes[self.dice.roll(4) as usize];
                self.world.complete(&self.world.completion(&task, Outcome::Failed(class)))
            }
            (8..=11, Some(task)) => self.world.complete(&self.world.done(&task)),
            (12, Some(task)) => {
                let mut completion = self.world.done(&task);
                completion.releases.truncate(self.dice.roll(4) as usize);
                self.world.complete(&completion)
            }
            (13 | 14, Some(task)) => self.post(&task),
            (15, _) if !self.sent.is_empty() => self.dice.pick(&self.sent).unwrap(),
            (16, _) if !self.sent.is_empty() => {
                let mut bytes = self.dice.pick(&self.sent).unwrap();
                let at = self.dice.roll(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << self.dice.roll(8);
                bytes
            }
            _ => self.ask(),
        }
    }

    fn new_terms(&mut self) -> Vec<u8> {
        let (price, choice) = (self.dice.roll(30), self.dice.roll(12));
        let (owner, object) = match self.dice.roll(2) {
            0 => (data_owner(), self.dice.pick(&self.data).unwrap()),
            _ => (program_owner(), self.dice.pick(&self.programs).unwrap()),
        };
        // The first two objects are never withdrawn, so that something can always be asked for.
        let first = object == self.data[0] || object == self.programs[0];
        let now = self.world.time_ms;
        self.world.set_terms(&owner, object, |terms| {
            terms.price = price;
            terms.revoked = choice == 0 && !first;
            terms.uses_max = (choice == 1 && !first).then_some(2);
            terms.expires_ms = (choice == 2 && !first).then_some(now + 5_000);
            terms.requesters = if choice == 3 { Allow::Only(vec![]) } else { Allow::Any };
        })
    }

    fn publish(&mut self) -> Vec<u8> {
        let name = format!("object {}", self.dice.roll(40));
        let (owner, kind) = match self.dice.roll(2) {
            0 => (data_owner(), ObjectKind::Data),
            _ => (program_owner(), ObjectKind::Program),
        };
        let mut object = self.world.published(&owner, kind, &name);
        if self.dice.roll(6) == 0 {
            object.deposit_acks.swap(0, 1);
        }
        let terms = self.world.terms(&owner, object.manifest.object_id(), self.dice.roll(20));
        self.world.publish_action(&owner, object, terms)
    }

    /// Releases of one custodian, now and then of an attempt that is over, or of none.
    fn post(&mut self, task: &TaskId) -> Vec<u8> {
        let custodian = nodes()[self.dice.roll(3) as usize].clone();
        let attempt = self.dice.roll(4) as u8;
        let mut releases = vec![];
        for release in self.world.releases(task, 3) {
            let body = release.unverified();
            if body.custodian == custodian.id() {
                let attempt = if attempt == 0 { 1 } else { body.attempt };
                releases.push(custodian.sign(&self.world.network, Release { attempt, ..body.clone() }));
            }
        }
        self.world.transaction(&custodian, Action::PostReleases { task: *task, releases })
    }

    fn ask(&mut self) -> Vec<u8> {
        let requester = self.dice.pick(&self.requesters).unwrap();
        let program = self.dice.pick(&self.programs).unwrap();
        let data = self.dice.pick(&self.data).unwrap();
        let mut task = self.world.ask(program, data);
        task.requester = requester.id();
        task.nonce = self.world.account(&requester.id()).nonce;
        task.price_max = 20 + self.dice.roll(400);
        let longest = [200_000, 5_000, 5_000][self.dice.roll(3) as usize];
        task.limits.run_ms = 1 + self.dice.roll(longest);
        self.world.transaction_at(&requester, task.nonce, Action::Submit { task: Box::new(task) })
    }

    /// One block, and everything that must hold after it.
    fn block(&mut self) {
        let standing = self.standing();
        let mut list = Vec::new();
        for _ in 0..self.dice.roll(5) {
            list.push(self.transaction(&standing));
        }
        self.sent.extend(list.iter().cloned());
        let nonces: Vec<u64> = self.world.everybody().iter().map(|id| self.world.account(id).nonce).collect();
        let (records, refused) = self.world.propose(list.clone());
        for record in &records {
            if let Fact::Object(object) = &record.fact {
                let manifest = object.manifest.unverified();
                let objects = if manifest.kind == ObjectKind::Data { &mut self.data } else { &mut self.programs };
                objects.push(object.manifest.object_id());
            }
            self.redrawn += usize::from(matches!(&record.fact, Fact::Assignment(it) if it.attempt > 1));
        }
        self.check_turns(&list, &refused, &nonces);
        self.check_tasks();
    }

    /// Each transaction that took effect took its sender's turn, and none that was refused did.
    fn check_turns(&mut self, list: &[Vec<u8>], refused: &[(usize, Refusal)], before: &[u64]) {
        let mut turns: BTreeMap<AccountId, u64> = BTreeMap::new();
        for (at, bytes) in list.iter().enumerate() {
            if refused.iter().all(|(position, _)| *position != at) {
                let signed = Signed::<Transaction>::from_bytes(bytes, Transaction::BYTES_MAX).unwrap();
                let body = signed.unverified();
                *turns.entry(body.account).or_default() += 1;
                *self.done.entry(body.action.name()).or_default() += 1;
            }
        }
        for (id, before) in self.world.everybody().iter().zip(before) {
            assert_eq!(self.world.account(id).nonce, before + turns.get(id).unwrap_or(&0), "the nonce of {id}");
        }
    }

    /// The escrow holds what open tasks have locked; every open task waits or runs, once, and for a bounded time.
    fn check_tasks(&self) {
        let (standing, schedule, now) = (self.standing(), self.world.schedule(), self.world.time_ms);
        let open = || standing.waiting.values().chain(standing.running.values());
        let locked: u64 = open().map(|open| open.locked).sum();
        assert_eq!(self.world.balance(&AccountId::ESCROW), locked, "escrow at height {}", self.world.height);

        let waiting: Vec<Waiting> = self.world.pages("waiting", &schedule.waiting);
        let mut queued: Vec<TaskId> = waiting.iter().map(|waiting| waiting.task).collect();
        queued.sort_unstable();
        assert!(queued.iter().eq(standing.waiting.keys()), "the queue is not the tasks that wait");
        for (task, open) in &standing.waiting {
            assert!(open.attempt <= ledger::ATTEMPTS_MAX, "{task}");
        }
        let tired = waiting.iter().filter(|one| schedule.alive_ms - one.since_alive_ms >= WAIT_MS_MAX).count();
        assert!(tired == 0 || self.world.last.due.next_block, "{tired} tasks have waited too long");
        let count = |requester: &AccountId| {
            standing.waiting.values().filter(|open| open.task.requester == *requester).count() as u32
        };
        for id in self.world.everybody() {
            assert_eq!(self.world.get::<u32>(&key::waiting(id)).unwrap_or(0), count(id), "waiting for {id}");
        }

        let deadlines: Vec<Deadline> = self.world.pages("deadlines", &schedule.deadlines);
        assert_eq!(deadlines.len(), standing.running.len(), "one deadline for each task that runs");
        for Deadline { at_ms, task } in &deadlines {
            assert_eq!(standing.running[task].assigned.as_ref().unwrap().deadline_ms, *at_ms);
        }
        let overdue = deadlines.iter().filter(|deadline| deadline.at_ms < now).count();
        assert!(overdue == 0 || self.world.last.due.next_block, "{overdue} tasks are overdue");
        assert!(overdue <= deadlines.len().saturating_sub(DUE_MAX), "{overdue} tasks are overdue");

        for node in nodes() {
            let runs = |open: &&OpenTask| open.assigned.as_ref().is_some_and(|it| it.executor == node.id());
            let running = self.world.node(&node.id()).running;
            assert_eq!(running as usize, standing.running.values().filter(runs).count(), "slots of a node");
            assert!(running <= self.world.genesis.limits.slots_per_node);
        }
    }

    /// Whatever is left open ends by itself.
    fn end(&mut self) {
        for _ in 0..80 {
            self.world.pass(20_000);
            self.check_tasks();
        }
        let standing = self.standing();
        assert!(standing.waiting.is_empty() && standing.running.is_empty(), "a task is stuck");
        assert_eq!(self.world.balance(&AccountId::ESCROW), 0, "nothing is left in escrow");
        let settlements = self.world.records.iter().filter(|record| matches!(record.fact, Fact::Settlement(_)));
        assert_eq!(settlements.count(), standing.settled, "each task is settled once");
        assert!(standing.settled > 20, "{} tasks", standing.settled);
    }
}

fn play(seed: u64) {
    let mut play = Play::new(seed, |genesis| {
        genesis.limits.slots_per_node = 2;
        genesis.limits.task.run_ms = 200_000;
    });
    for _ in 0..300 {
        play.block();
        match play.dice.roll(40) {
            // A node, or the whole network, was away for a while.
            0 => play.world.time_ms += 60_000 + play.dice.roll(VERDICT_MS),
            1..=4 => play.world.time_ms += play.dice.roll(30_000),
            5 => {
                play.world.blocks(1);
                play.world.renew();
            }
            _ => {}
        }
    }
    play.end();
    let kinds = ["top-up", "transfer", "publish", "set-terms", "attest", "submit", "post-releases", "complete"];
    for kind in kinds {
        assert!(play.done.get(kind).is_some_and(|count| *count > 2), "{kind}: {:?}", play.done);
    }
    assert!(play.redrawn > 0, "nothing was drawn again");
}

#[test]
fn credits_turns_and_tasks_are_accounted_for_whatever_happens() {
    for seed in 1..=4 {
        play(seed);
    }
}

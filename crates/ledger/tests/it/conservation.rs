//! Money over many blocks in which everything happens at once, good and bad. `World` counts all credits at every block.

use ledger::state::{TaskState, Windows};
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
}

struct Play {
    world: World,
    dice: Dice,
    program: ObjectId,
    data: ObjectId,
    tasks: Vec<TaskId>,
}

impl Play {
    fn open(&self) -> Vec<TaskId> {
        let running = |task: &&TaskId| match self.world.get(&ledger::key::task(task)) {
            Some(TaskState::Open(open)) => open.assigned.is_some(),
            Some(TaskState::Settled(_)) | None => false,
        };
        self.tasks.iter().filter(running).copied().collect()
    }

    /// Whether the last block belongs to a window whose appraisers are drawn.
    fn window_is_open(&self) -> bool {
        let windows: Windows = self.world.get(&ledger::key::windows()).unwrap();
        windows.current.number == self.world.window()
    }

    /// Something that somebody might send, sensible or not.
    fn transaction(&mut self) -> Vec<u8> {
        let open = self.open();
        let pick = |dice: &mut Dice, list: &[TaskId]| list[dice.roll(list.len() as u64) as usize];
        match self.dice.roll(12) {
            0 => self.world.transaction(&Key::new(9), Action::TopUp { amount: 1 + self.dice.roll(5_001) }),
            1 | 2 => {
                let to = Key::new(5 + self.dice.roll(6) as u8).id();
                let from = Key::new(1 + self.dice.roll(9) as u8);
                self.world.transaction(&from, Action::Transfer { to, amount: 1 + self.dice.roll(3_000) })
            }
            3 => {
                let price = self.dice.roll(30);
                self.world.set_terms(&data_owner(), self.data, |terms| terms.price = price)
            }
            4 if self.window_is_open() => {
                let node = nodes()[self.dice.roll(4) as usize].clone();
                self.world.attest(&node)
            }
            5 if !open.is_empty() => {
                let task = pick(&mut self.dice, &open);
                let class = [FailureClass::Guest, FailureClass::Limit, FailureClass::Keys, FailureClass::Node];
                let class = class[self.dice.roll(4) as usize];
                self.world.complete(&self.world.completion(&task, Outcome::Failed(class)))
            }
            6 | 7 if !open.is_empty() => {
                let task = pick(&mut self.dice, &open);
                self.world.complete(&self.world.done(&task))
            }
            8 if !open.is_empty() => {
                let task = pick(&mut self.dice, &open);
                let mut completion = self.world.done(&task);
                completion.releases.truncate(self.dice.roll(4) as usize);
                self.world.complete(&completion)
            }
            _ => {
                let mut task = self.world.ask(self.program, self.data);
                task.price_max = 20 + self.dice.roll(80);
                task.limits.run_ms = 1 + self.dice.roll(5_000);
                self.tasks.push(task.id());
                self.world.submit_action(&task)
            }
        }
    }
}

fn play(seed: u64) {
    let mut world = World::with(|genesis| genesis.limits.slots_per_node = 2);
    let (program, data) = world.publish_both();
    let mut play = Play { world, dice: Dice(seed), program, data, tasks: vec![] };
    for _ in 0..120 {
        let count = play.dice.roll(4);
        let list: Vec<_> = (0..count).map(|_| play.transaction()).collect();
        play.world.propose(list);
        let known = |task: &TaskId| play.world.get::<TaskState>(&ledger::key::task(task)).is_some();
        let submitted: Vec<_> = play.tasks.iter().copied().filter(known).collect();
        play.tasks = submitted;
        if play.dice.roll(8) == 0 {
            play.world.time_ms += play.dice.roll(30_000);
        }
    }
    // Whatever was left open ends by itself.
    for _ in 0..80 {
        play.world.pass(20_000);
    }
    assert!(play.tasks.len() > 20, "{} tasks", play.tasks.len());
    for task in &play.tasks {
        assert!(matches!(play.world.task(task), TaskState::Settled(_)), "a task is stuck");
    }
    assert_eq!(play.world.balance(&AccountId::ESCROW), 0, "nothing is left in escrow");
    assert!(nodes().iter().all(|node| play.world.node(&node.id()).running == 0));
    assert_eq!((play.world.schedule().waiting.len(), play.world.schedule().deadlines.len()), (0, 0));
}

#[test]
fn credits_are_conserved_whatever_happens() {
    for seed in 1..=4 {
        play(seed);
    }
}

//! Power cuts: one validator or all of them stop, in order or by `kill -9`, and the ledger goes on.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ed25519_dalek::SigningKey;

use crate::{counter::transaction, finalized, network::Net, within};

#[test]
fn a_stopped_validator_catches_up_and_a_stopped_network_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let net = Net::new(4, folder.path());
    let mut validators = net.start_all();
    let key = SigningKey::from_bytes(&[1; 32]);
    within(180, async {
        let submit = |validators: &[consensus::Consensus], nonces: std::ops::Range<u64>| -> Vec<_> {
            nonces.map(|nonce| validators[0].submit(transaction(&key, nonce, 1)).unwrap()).collect()
        };
        let first = submit(&validators, 0..10);
        finalized(&validators[3], &first).await;

        // One stops; the others go on; it comes back and has everything.
        validators[3].shutdown().await;
        let second = submit(&validators, 10..30);
        finalized(&validators[0], &second).await;
        validators[3] = net.start(3);
        finalized(&validators[3], &second).await;
        let proven = validators[3].prove(&(0..30).collect::<Vec<_>>()).await.unwrap();
        assert_eq!(net.network().check_proven(&proven).unwrap().1.len(), 30);

        // All stop and start again.
        let heights: Vec<_> = validators.iter().map(|validator| validator.tip().height).collect();
        for validator in &validators {
            validator.shutdown().await;
        }
        validators = net.start_all();
        for (validator, height) in validators.iter().zip(heights) {
            assert!(validator.tip().height >= height, "a height was forgotten");
        }
        let third = submit(&validators, 30..40);
        for validator in &validators {
            finalized(validator, &third).await;
            let mut blocks = validator.subscribe(1);
            let (mut records, mut height) = (0, 0);
            while records < 40 {
                let block = blocks.next().await.unwrap().unwrap();
                height += 1;
                assert_eq!(block.height, height);
                records += block.records.len();
            }
        }
        for validator in &validators {
            validator.shutdown().await;
        }
    });
}

const FOLDER: &str = "SAMOVAR_TEST_FOLDER";
const MEMBER: &str = "SAMOVAR_TEST_MEMBER";

/// Not a test by itself: the process that [`validators_survive_kill_9`] starts and kills.
#[test]
fn validator_process() {
    let (Ok(folder), Ok(member)) = (std::env::var(FOLDER), std::env::var(MEMBER)) else { return };
    crate::show_logs();
    let member: u8 = member.parse().unwrap();
    let net = Net::load(Path::new(&folder));
    let validator = net.start(member.into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let key = SigningKey::from_bytes(&[member + 10; 32]);
        let account = crate::counter::account_key(&key.verifying_key().to_bytes());
        let mut blocks = validator.subscribe(1);
        loop {
            let block = blocks.next().await.unwrap().unwrap();
            println!("\nblock {} {} {}", block.height, block.digest, block.records.len());
            let state = validator.read(&[account]).await.unwrap().remove(0);
            let nonce = state.map_or(0, |state| u64::from_be_bytes(state[..8].try_into().unwrap()));
            // It may be waiting already.
            let _ = validator.submit(transaction(&key, nonce, 1));
        }
    });
}

/// A validator's process. Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL on this system: nothing is flushed, nobody is told.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Digest of each height that anybody ever saw, and each validator's height in this life.
#[derive(Default)]
struct Seen {
    blocks: BTreeMap<u64, String>,
    heights: [u64; 4],
    records: [u64; 4],
}

fn spawn(folder: &Path, member: usize, seen: &Arc<Mutex<Seen>>) -> Process {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "restart::validator_process", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(MEMBER, member.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    {
        let mut seen = seen.lock().unwrap();
        (seen.heights[member], seen.records[member]) = (0, 0);
    }
    let (lines, seen) = (BufReader::new(child.stdout.take().unwrap()).lines(), seen.clone());
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let words: Vec<_> = line.split(' ').collect();
            let ["block", height, digest, records] = words[..] else { continue };
            let Ok(height) = height.parse() else { continue };
            let mut seen = seen.lock().unwrap();
            let known = seen.blocks.entry(height).or_insert_with(|| digest.to_owned()).clone();
            assert_eq!(known, digest, "two blocks are final at height {height}");
            seen.heights[member] = height;
            seen.records[member] += records.parse::<u64>().unwrap();
        }
    });
    Process(child)
}

fn wait_until(what: &str, seen: &Arc<Mutex<Seen>>, condition: impl Fn(&Seen) -> bool) {
    let start = Instant::now();
    while !condition(&seen.lock().unwrap()) {
        assert!(start.elapsed() < Duration::from_secs(90), "{what}: {:?}", seen.lock().unwrap().heights);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn validators_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    Net::new(4, folder.path()).save();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let all = |least: u64| move |seen: &Seen| seen.heights.iter().all(|height| *height >= least);
    let start = || (0..4).map(|member| spawn(folder.path(), member, &seen)).collect::<Vec<_>>();
    let mut processes = start();
    wait_until("the network starts", &seen, all(15));

    // One of four dies; the others go on; it comes back.
    drop(processes.remove(3));
    let height = seen.lock().unwrap().heights[0];
    wait_until("three of four go on", &seen, |seen| seen.heights[..3].iter().all(|at| *at >= height + 8));
    processes.push(spawn(folder.path(), 3, &seen));
    let height = seen.lock().unwrap().heights[0];
    wait_until("the killed one catches up", &seen, all(height + 5));

    // All die at once, three times.
    for _ in 0..3 {
        processes.clear();
        let height = *seen.lock().unwrap().blocks.last_key_value().unwrap().0;
        processes = start();
        wait_until("a killed network goes on", &seen, all(height + 8));
    }
    let seen = seen.lock().unwrap();
    assert!(seen.records.iter().all(|records| *records > 0), "transactions of this life became final");
}

//! Four validators in virtual time: messages are lost, links are cut, one of them lies. Nothing bad becomes final, and
//! something good does once the network heals.

use std::{path::Path, sync::Arc, time::Duration};

use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::simplex::types::{Finalize, Notarize, Proposal, Vote};
use commonware_cryptography::{Hasher as _, Sha256, ed25519::PublicKey, sha256};
use commonware_p2p::{
    Receiver as _, Recipients, Sender as _,
    simulated::{Config as NetworkConfig, Link, Network, Oracle},
};
use commonware_runtime::{Clock as _, Quota, Runner as _, Spawner as _, Supervisor as _, deterministic};
use commonware_utils::{NZU32, NZUsize, probability};
use consensus::{
    BlockInput, Consensus, Dealing, Executed, Key, Machine, Mode, Reads, Reason, Retention, Stop, Timing,
    TransactionMeta,
    simulation::{self, CHANNELS, Channel, Place},
};
use ed25519_dalek::SigningKey;
use finality::engine::Scheme;
use model::{Digest, Genesis, NodeId};

use crate::{
    counter::{Counter, transaction},
    network::{genesis, node},
};

type Context = deterministic::Context;
const MEMBERS: usize = 4;
/// Of the journal.
const PART_BYTES: u32 = 4_096;

/// A counter that leaves a large value in the state with every block, which the next one replaces.
struct Wasteful(Counter);

impl Machine for Wasteful {
    fn check(&self, transaction: &[u8]) -> Result<TransactionMeta, Reason> {
        self.0.check(transaction)
    }

    fn reads(&self, transactions: &[Vec<u8>]) -> Vec<Key> {
        self.0.reads(transactions)
    }

    fn execute(&self, block: &BlockInput<'_>, reads: &dyn Reads, mode: Mode) -> Result<Executed, Stop> {
        let mut executed = self.0.execute(block, reads, mode)?;
        executed.writes.push((Digest::of(b"waste").0, Some(block.height.to_be_bytes().repeat(100))));
        Ok(executed)
    }
}

/// Keys are dealt once, so that the same seed gives the same run.
struct Deal {
    genesis: Genesis,
    members: Vec<NodeId>,
    dealing: Dealing,
}

impl Deal {
    fn new() -> Self {
        let mut members: Vec<_> = (0..MEMBERS as u8).map(|member| node(&[member; 32])).collect();
        members.sort();
        let dealing = consensus::deal(&members).unwrap();
        let genesis = genesis(dealing.network_key, dealing.sharing.clone(), members.clone());
        Self { genesis, members, dealing }
    }

    fn share(&self, member: usize) -> &[u8] {
        let (_, share) = self.dealing.shares.iter().find(|(holder, _)| *holder == self.members[member]).unwrap();
        share
    }

    fn key(&self, member: usize) -> PublicKey {
        simulation::public_key(&self.members[member]).unwrap()
    }
}

/// Lets exactly the links stand for which `keep` says so.
async fn link(oracle: &Oracle<PublicKey, Context>, deal: &Deal, keep: impl Fn(usize, usize) -> bool) {
    let lossy =
        Link { latency: Duration::from_millis(40), jitter: Duration::from_millis(15), success_rate: probability!(0.9) };
    for from in 0..MEMBERS {
        for to in (0..MEMBERS).filter(|to| *to != from) {
            let _ = oracle.remove_link(deal.key(from), deal.key(to)).await;
            if keep(from, to) {
                oracle.add_link(deal.key(from), deal.key(to), lossy.clone()).await.unwrap();
            }
        }
    }
}

/// A member that answers every vote with two that contradict each other.
async fn equivocate(scheme: Scheme, (mut sender, mut receiver): Channel) {
    while let Ok((_, message)) = receiver.recv().await {
        let Ok(vote) = Vote::<Scheme, sha256::Digest>::decode(message) else { continue };
        let (Vote::Notarize(Notarize { proposal, .. }) | Vote::Finalize(Finalize { proposal, .. })) = vote else {
            continue;
        };
        let other = Proposal::new(proposal.round, proposal.parent, Sha256::hash(&[&proposal.encode()]));
        for proposal in [other, proposal] {
            for vote in [
                Notarize::sign(&scheme, proposal.clone()).map(Vote::<Scheme, _>::Notarize),
                Finalize::sign(&scheme, proposal.clone()).map(Vote::Finalize),
            ] {
                sender.send(Recipients::All, vote.unwrap().encode(), true);
            }
        }
    }
}

async fn place(oracle: &Oracle<PublicKey, Context>, key: PublicKey) -> Place {
    let control = oracle.control(key);
    let mut channels = Vec::new();
    for channel in CHANNELS {
        channels.push(control.register(channel, Quota::per_second(NZU32!(4_096))).await.unwrap());
    }
    Place { peers: oracle.manager(), control, channels }
}

/// Waits in virtual time until something holds.
async fn within(context: &Context, what: &str, holds: impl Fn() -> bool) {
    for _ in 0..600 {
        if holds() {
            return;
        }
        context.sleep(Duration::from_secs(1)).await;
    }
    panic!("waited ten minutes until {what}");
}

fn mostly_compacted(journal: &Path) -> bool {
    let parts = std::fs::read_dir(journal).unwrap();
    let sizes: Vec<_> = parts.map(|part| part.unwrap().metadata().unwrap().len()).collect();
    let small = sizes.iter().filter(|size| **size < u64::from(PART_BYTES)).count();
    sizes.len() > 8 && small > sizes.len() / 4
}

/// Blocks that a validator has finalized: digest and transactions by height.
async fn history(validator: &Consensus) -> Vec<(Digest, Vec<Digest>)> {
    let height = validator.tip().height;
    let (mut blocks, mut history) = (validator.subscribe(1), Vec::new());
    for _ in 0..height {
        let block = blocks.next().await.unwrap().unwrap();
        history.push((block.digest, block.transactions));
    }
    history
}

/// The story. Returns a digest of everything that happened and the height that all have reached.
fn run(deal: &Deal, folder: &Path, seed: u64, liar: bool) -> (String, u64) {
    let config = deterministic::Config::new().with_seed(seed).with_timeout(Some(Duration::from_secs(1_800)));
    deterministic::Runner::new(config).start(|context| async move {
        let (network, oracle) = Network::new_with_peers(
            context.child("network"),
            NetworkConfig {
                max_size: simulation::message_bytes_max(MEMBERS as u32),
                max_peers_per_set: NZUsize!(MEMBERS),
                disconnect_on_block: true,
                tracked_peer_sets: NZUsize!(1),
            },
            (0..MEMBERS).map(|member| deal.key(member)).collect::<Vec<_>>(),
        )
        .await;
        network.start();
        let mut validators = Vec::new();
        for member in 0..MEMBERS {
            let context = context.child("validator").with_attribute("index", member);
            let mut place = place(&oracle, deal.key(member)).await;
            if liar && member == MEMBERS - 1 {
                let scheme = simulation::signing_scheme(&deal.genesis, deal.share(member)).unwrap();
                let votes = place.channels.remove(0);
                context.spawn(move |_| equivocate(scheme, votes));
                continue;
            }
            let machine = Wasteful(Counter { network: deal.genesis.network_id() });
            let timing = Timing { heartbeat: Duration::from_millis(500), ..Timing::default() };
            // So small that values are forgotten while the story goes on.
            let retention = Retention { part_bytes: PART_BYTES, replaced_blocks: 0 };
            let who = (&deal.members[member], deal.share(member));
            let started =
                simulation::start(context, &deal.genesis, who, folder, (timing, retention), place, Arc::new(machine));
            validators.push(started.await.unwrap());
        }
        // Submitted while nobody is connected: what is not sent again is lost.
        let key = SigningKey::from_bytes(&[7; 32]);
        for nonce in 0..30 {
            validators[nonce as usize % validators.len()].submit(transaction(&key, nonce, 1)).unwrap();
        }
        let height = |validator: usize| validators[validator].tip().height;
        link(&oracle, deal, |_, _| true).await;
        context.sleep(Duration::from_secs(20)).await;

        // One is cut off: the others go on, if all of them are honest. Each of them is needed, so whoever misses one message of
        // a view waits it out; how many views that takes is chance.
        let lossy = height(0);
        link(&oracle, deal, |from, to| from != 2 && to != 2).await;
        if liar {
            context.sleep(Duration::from_secs(30)).await;
        } else {
            within(&context, "three of four go on", || height(0) > lossy + 5).await;
            assert!(height(2) < height(0));
        }

        // Two and two: nobody goes on.
        link(&oracle, deal, |from, to| (from < 2) == (to < 2)).await;
        context.sleep(Duration::from_secs(5)).await;
        let split = height(0);
        context.sleep(Duration::from_secs(20)).await;
        assert!(height(0) <= split + 1, "two of four made a block final");

        // Healed. A full part of the journal that is smaller than full has been compacted.
        link(&oracle, deal, |_, _| true).await;
        let all = 0..validators.len();
        within(&context, "the healed network goes on", || all.clone().all(|member| height(member) > split + 5)).await;
        let journal = folder.join(format!("{}.journal", deal.members[0]));
        within(&context, "the journal is compacted", || mostly_compacted(&journal)).await;
        let mut histories = Vec::new();
        for validator in &validators {
            histories.push(history(validator).await);
        }
        let common = histories.iter().map(Vec::len).min().unwrap();
        for history in &histories {
            assert_eq!(history[..common], histories[0][..common], "two blocks are final at one height");
        }

        let transactions: usize = histories[0][..common].iter().map(|(_, transactions)| transactions.len()).sum();
        assert_eq!(transactions, 30, "each transaction becomes final once");

        // What was agreed on verifies for a stranger.
        let stranger = finality::Network { id: deal.genesis.network_id(), key: deal.genesis.network_key };
        let proven = validators[1].prove(&(0..30).collect::<Vec<_>>()).await.unwrap();
        assert_eq!(stranger.check_proven(&proven).unwrap().1.len(), 30);
        (context.auditor().state(), common as u64)
    })
}

#[test]
fn loss_and_partitions_stop_nothing_for_ever() {
    let deal = Deal::new();
    let folder = || tempfile::tempdir().unwrap();
    let first = run(&deal, folder().path(), 1, false);
    let again = run(&deal, folder().path(), 1, false);
    assert_eq!(first, again, "one seed, one run");
    assert_ne!(first.0, run(&deal, folder().path(), 2, false).0);
}

#[test]
fn a_member_that_votes_for_everything_splits_nothing() {
    run(&Deal::new(), tempfile::tempdir().unwrap().path(), 3, true);
}

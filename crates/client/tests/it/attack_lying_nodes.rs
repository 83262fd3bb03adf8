//! A node that lies or is behind is passed over and named; if all do, nothing is believed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::StatusCode;
use client::{Client, ClientError, NetworkFile, StateDir, now_ms};
use finality::testing::{Chain, Committee};
use model::{
    AccountId, Blob, Bytes32, Canonical as _, Fact, Input, Limits, Metering, NetworkId, ObjectId, Task, TaskId,
    api::ProvenRecords,
};

use crate::crooked::Crooked;

const NETWORK: NetworkId = NetworkId([7; 32]);

struct World {
    chain: Chain,
    state: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { chain: Committee::deal(1).chain(NETWORK), state: tempfile::tempdir().unwrap() }
    }

    fn client(&self, apis: &[&str]) -> Client {
        let nodes: String =
            apis.iter().map(|api| format!("[[nodes]]\nid = \"{}\"\napi = \"{api}\"\n", AccountId([1; 32]))).collect();
        let text = format!("id = \"{NETWORK}\"\nkey = \"{}\"\n{nodes}", self.chain.network().key);
        let file = NetworkFile::parse("network.toml".as_ref(), &text).unwrap();
        Client::new(file, None, StateDir::new(self.state.path())).unwrap()
    }
}

fn task(nonce: u64) -> Task {
    Task {
        requester: AccountId([9; 32]),
        nonce,
        program: ObjectId::of_manifest(b"program"),
        inputs: vec![Input { name: "a".into(), object: ObjectId::of_manifest(b"data") }],
        args: vec![],
        limits: Limits { run_ms: 1, memory_bytes: 1, output_bytes: 1 },
        metering: Metering::None,
        seed: Bytes32([0; 32]),
        result_key: Blob(vec![0; 1216]),
        price_max: 0,
    }
}

fn fact(nonce: u64) -> Fact {
    Fact::Task(Box::new(task(nonce)))
}

async fn ids(client: &Client) -> Result<Vec<TaskId>, ClientError> {
    client.tasks().await.map(|(_, tasks)| tasks.into_iter().map(|task| task.id).collect())
}

async fn refused(client: &Client) -> String {
    ids(client).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_fresh_proven_list_is_believed() {
    let mut world = World::new();
    let indices = world.chain.block(now_ms(), vec![fact(1), fact(2)]);
    let node = Crooked::default();
    node.answer("/v1/tasks", world.chain.prove(&indices).to_bytes());
    let client = world.client(&[&node.listen().await]);
    assert_eq!(ids(&client).await.unwrap(), [task(1).id(), task(2).id()]);
}

#[tokio::test]
async fn lists_go_on_where_a_page_ends_and_an_endless_one_ends() {
    let mut world = World::new();
    let indices = world.chain.block(now_ms(), (1..=5).map(fact).collect());
    let node = Crooked::default();
    let page = |indices: &[u64]| world.chain.prove(indices).to_bytes();
    node.answer("/v1/tasks", page(&indices[3..]));
    node.answer(&format!("/v1/tasks?after={}", task(4).id()), page(&indices[1..3]));
    node.answer(&format!("/v1/tasks?after={}", task(2).id()), page(&indices[..1]));
    // The last page is no end: the node shows the latest tasks for ever.
    let client = world.client(&[&node.listen().await]);
    assert_eq!(ids(&client).await.unwrap(), (1..=5).map(|nonce| task(nonce).id()).collect::<Vec<_>>());
    assert_eq!(node.asked().len(), 4);
}

#[tokio::test]
async fn a_stale_node_is_passed_over_and_named() {
    let mut world = World::new();
    let indices = world.chain.block(now_ms() - 31_000, vec![fact(1)]);
    let (stale, honest) = (Crooked::default(), Crooked::default());
    stale.answer("/v1/tasks", world.chain.prove(&indices).to_bytes());
    let indices = [indices, world.chain.block(now_ms(), vec![fact(2)])].concat();
    honest.answer("/v1/tasks", world.chain.prove(&indices).to_bytes());
    let (stale_api, honest_api) = (stale.listen().await, honest.listen().await);

    let told = Arc::new(Mutex::new(Vec::new()));
    let witness = told.clone();
    let client = world
        .client(&[&stale_api, &honest_api])
        .on_skipped(move |skipped| witness.lock().unwrap().push((skipped.node.clone(), skipped.why.clone())));
    assert_eq!(ids(&client).await.unwrap().len(), 2);
    let why = "not believed: its newest block is 31 s old".to_owned();
    assert_eq!(*told.lock().unwrap(), [(stale_api.clone(), why)]);
    assert_eq!(stale.asked(), ["/v1/tasks"]);
    ids(&client).await.unwrap();
    assert_eq!(stale.asked(), ["/v1/tasks"], "from then on it is asked last");

    let error = refused(&world.client(&[&stale_api])).await;
    assert!(error.contains(&stale_api) && error.contains("its newest block is 31 s old"), "{error}");
}

#[tokio::test]
async fn a_command_sees_no_less_than_the_one_before_it() {
    let (mut world, now_ms) = (World::new(), now_ms());
    let early = world.chain.block(now_ms, vec![fact(1)]);
    let behind = world.chain.prove(&early).to_bytes();
    let late = world.chain.block(now_ms + 1, vec![fact(2)]);
    let (one, other) = (Crooked::default(), Crooked::default());
    let (one_api, other_api) = (one.listen().await, other.listen().await);
    one.answer("/v1/tasks", world.chain.prove(&late).to_bytes());
    ids(&world.client(&[&one_api])).await.unwrap();

    // A node that has not come so far is passed over without a word, and asked again if there is no other.
    one.answer("/v1/tasks", behind.clone());
    other.answer("/v1/tasks", world.chain.prove(&late).to_bytes());
    let client = world.client(&[&one_api, &other_api]).on_skipped(|skipped| panic!("{skipped:?} is no news"));
    assert_eq!(ids(&client).await.unwrap(), [task(2).id()]);
    let client = world.client(&[&one_api]);
    let catches_up = async {
        let asked = one.asked().len();
        while one.asked().len() < asked + 2 {
            tokio::task::yield_now().await;
        }
        one.answer("/v1/tasks", world.chain.prove(&late).to_bytes());
    };
    let (answer, ()) = tokio::join!(ids(&client), catches_up);
    assert_eq!(answer.unwrap(), [task(2).id()]);
    drop(client);

    // If it stays where it is, what it shows is taken for what it is: an earlier part of the same log, and fresh.
    one.answer("/v1/tasks", behind);
    prove_growth(&one, &world.chain, 1, 2);
    assert_eq!(ids(&world.client(&[&one_api])).await.unwrap(), [task(1).id()]);
}

#[tokio::test]
async fn a_head_from_the_future_is_refused() {
    let mut world = World::new();
    let indices = world.chain.block(now_ms() + 60_000, vec![fact(1)]);
    let node = Crooked::default();
    node.answer("/v1/tasks", world.chain.prove(&indices).to_bytes());
    let error = refused(&world.client(&[&node.listen().await])).await;
    assert!(error.contains("in the future of this machine's clock"), "{error}");
}

#[tokio::test]
async fn invented_changed_and_foreign_records_are_refused() {
    let mut world = World::new();
    let indices = world.chain.block(now_ms(), vec![fact(1), fact(2)]);
    let proven = world.chain.prove(&indices);
    let mut foreign = Committee::deal(1).chain(NetworkId([8; 32]));
    let foreign_indices = foreign.block(now_ms(), vec![fact(1)]);
    let mut other_key = Committee::deal(2).chain(NETWORK);
    let other_indices = other_key.block(now_ms(), vec![fact(1)]);

    let mut changed = proven.clone();
    changed.records[0].record.0[40] ^= 1;
    let mut swapped = proven.clone();
    let (first, second) = (swapped.records[0].record.clone(), swapped.records[1].record.clone());
    (swapped.records[0].record, swapped.records[1].record) = (second, first);
    let mut bare = ProvenRecords { digests: vec![], ..proven.clone() };
    bare.records.truncate(1);
    let lies = [
        changed.to_bytes(),
        swapped.to_bytes(),
        bare.to_bytes(),
        foreign.prove(&foreign_indices).to_bytes(),
        other_key.prove(&other_indices).to_bytes(),
        [proven.to_bytes(), vec![0]].concat(),
        b"<html>".to_vec(),
        vec![],
    ];
    for (case, lie) in lies.into_iter().enumerate() {
        let node = Crooked::default();
        node.answer("/v1/tasks", lie);
        let error = refused(&world.client(&[&node.listen().await])).await;
        assert!(error.contains("not believed"), "case {case}: {error}");
    }
}

/// From now on the node proves growth between these two sizes as `chain` grew.
fn prove_growth(node: &Crooked, chain: &Chain, from: u64, to: u64) {
    node.answer(&format!("/v1/consistency?from={from}&to={to}"), chain.prove_growth(from, to).to_bytes());
}

#[tokio::test]
async fn two_blocks_of_one_height_are_noticed() {
    let mut world = World::new();
    let mut other = world.chain.clone();
    let indices = world.chain.block(now_ms(), vec![fact(1)]);
    let other_indices = other.block(now_ms(), vec![fact(2)]);
    let node = Crooked::default();
    node.answer("/v1/tasks", world.chain.prove(&indices).to_bytes());
    let client = world.client(&[&node.listen().await]);
    ids(&client).await.unwrap();
    node.answer("/v1/tasks", other.prove(&other_indices).to_bytes());
    let error = refused(&client).await;
    assert!(error.contains("two different blocks of the same height"), "{error}");
}

/// A certified rewriting is as long as it likes: only the link to what was seen before tells it from the truth.
#[tokio::test]
async fn a_ledger_that_is_rewritten_during_a_command_is_noticed_and_not_remembered() {
    let mut world = World::new();
    let mut rewritten = world.chain.clone();
    let indices = world.chain.block(now_ms(), vec![fact(1)]);
    rewritten.block(now_ms(), vec![fact(2)]);
    let rewritten_indices = rewritten.block(now_ms() + 1, vec![fact(3), fact(4)]);
    let node = Crooked::default();
    node.answer("/v1/tasks", world.chain.prove(&indices).to_bytes());
    let api = node.listen().await;
    let client = world.client(&[&api]);
    ids(&client).await.unwrap();

    node.answer("/v1/tasks", rewritten.prove(&rewritten_indices).to_bytes());
    prove_growth(&node, &rewritten, 1, 3);
    let error = refused(&client).await;
    assert!(error.contains("this ledger was rewritten"), "{error}");
    drop(client);

    // What the lie was about is forgotten: the true ledger still passes, and the lie still does not.
    let error = refused(&world.client(&[&api])).await;
    assert!(error.contains("this ledger was rewritten"), "{error}");
    let more = world.chain.block(now_ms() + 2, vec![fact(5)]);
    node.answer("/v1/tasks", world.chain.prove(&more).to_bytes());
    prove_growth(&node, &world.chain, 1, 2);
    assert_eq!(ids(&world.client(&[&api])).await.unwrap(), [task(5).id()]);
}

#[tokio::test]
async fn a_node_that_is_behind_shows_an_earlier_part_of_the_same_log() {
    let (mut world, now_ms) = (World::new(), now_ms());
    let mut forked = world.chain.clone();
    let early = world.chain.block(now_ms, vec![fact(1)]);
    let behind = world.chain.prove(&early).to_bytes();
    let late = world.chain.block(now_ms + 1, vec![fact(2)]);
    let node = Crooked::default();
    node.answer("/v1/tasks", world.chain.prove(&late).to_bytes());
    let api = node.listen().await;
    let client = world.client(&[&api]);
    ids(&client).await.unwrap();

    prove_growth(&node, &world.chain, 1, 2);
    node.answer("/v1/tasks", behind);
    assert_eq!(ids(&client).await.unwrap(), [task(1).id()]);
    // An earlier part of another log is none, now and for the next command.
    let other = forked.block(now_ms - 5, vec![fact(9)]);
    node.answer("/v1/tasks", forked.prove(&other).to_bytes());
    assert!(refused(&client).await.contains("this ledger was rewritten"));
    drop(client);
    assert!(refused(&world.client(&[&api])).await.contains("this ledger was rewritten"));
}

#[tokio::test]
async fn a_rewritten_ledger_is_noticed_by_the_next_command() {
    let mut world = World::new();
    let mut rewritten = world.chain.clone();
    let indices = world.chain.block(now_ms(), vec![fact(1)]);
    let node = Crooked::default();
    node.answer("/v1/tasks", world.chain.prove(&indices).to_bytes());
    let api = node.listen().await;
    ids(&world.client(&[&api])).await.unwrap();

    rewritten.block(now_ms() - 1, vec![fact(2), fact(3)]);
    let indices = rewritten.block(now_ms() + 1, vec![fact(2), fact(3)]);
    node.answer("/v1/tasks", rewritten.prove(&indices).to_bytes());
    prove_growth(&node, &rewritten, 1, 4);
    let error = refused(&world.client(&[&api])).await;
    assert!(error.contains("this ledger was rewritten"), "{error}");

    // The true one still passes.
    let honest = [vec![0], world.chain.block(now_ms() + 2, vec![fact(4)])].concat();
    node.answer("/v1/tasks", world.chain.prove(&honest).to_bytes());
    prove_growth(&node, &world.chain, 1, 2);
    assert_eq!(ids(&world.client(&[&api])).await.unwrap().len(), 2);
}

#[tokio::test]
async fn silence_refusal_and_absence_are_told_apart() {
    let world = World::new();
    let nowhere = "http://127.0.0.1:9";
    let error = ids(&world.client(&[nowhere])).await.unwrap_err();
    assert!(matches!(&error, ClientError::Nobody { nodes } if *nodes == [nowhere]), "{error}");

    let node = Crooked::default();
    let api = node.listen().await;
    assert!(matches!(ids(&world.client(&[&api])).await, Err(ClientError::Unknown { .. })));

    let problem = model::api::Problem { error: "no".into(), hint: "ask nicely".into() };
    node.answer_with("/v1/tasks", StatusCode::UNPROCESSABLE_ENTITY, serde_json::to_vec(&problem).unwrap());
    let error = ids(&world.client(&[nowhere, &api])).await.unwrap_err();
    assert_eq!((error.to_string(), error.hint()), ("no".to_owned(), "ask nicely".to_owned()));

    node.answer_with("/v1/tasks", StatusCode::INTERNAL_SERVER_ERROR, vec![]);
    assert!(matches!(ids(&world.client(&[&api])).await, Err(ClientError::NoAnswer { .. })));
}

#[tokio::test]
async fn nodes_that_are_starting_are_waited_for_and_liars_are_not() {
    let mut world = World::new();
    let indices = world.chain.block(now_ms() - 31_000, vec![fact(1)]);
    let old = world.chain.prove(&indices).to_bytes();
    let indices = world.chain.block(now_ms(), vec![fact(2)]);
    let fresh = world.chain.prove(&indices).to_bytes();

    // It fails, then shows an old block, then is there: a few rounds, and a word about the wait, once.
    let node = Crooked::default();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (witness, starting) = (told.clone(), node.clone());
    let client = world.client(&[&node.listen().await]).patient(Duration::from_secs(60)).on_waiting(move |what| {
        witness.lock().unwrap().push(what.to_owned());
        starting.answer("/v1/tasks", old.clone());
    });
    node.answer_with("/v1/tasks", StatusCode::INTERNAL_SERVER_ERROR, vec![]);
    let asked = async {
        while node.asked().len() < 3 {
            tokio::task::yield_now().await;
        }
        node.answer("/v1/tasks", fresh);
    };
    let (answer, ()) = tokio::join!(ids(&client), asked);
    assert_eq!(answer.unwrap(), [task(2).id()]);
    assert_eq!(*told.lock().unwrap(), ["a node that answers"]);

    // Without patience the old block is refused at once, in words of its own; and no patience is spent on a lie.
    let node = Crooked::default();
    let api = node.listen().await;
    let mut stale = World::new();
    let indices = stale.chain.block(now_ms() - 31_000, vec![fact(1)]);
    node.answer("/v1/tasks", stale.chain.prove(&indices).to_bytes());
    assert!(matches!(ids(&stale.client(&[&api])).await, Err(ClientError::StandsStill { .. })));
    node.answer("/v1/tasks", b"<html>".to_vec());
    let asked = node.asked().len();
    assert!(matches!(
        ids(&world.client(&[&api]).patient(Duration::from_secs(60))).await,
        Err(ClientError::NoAnswer { .. })
    ));
    assert_eq!(node.asked().len(), asked + 1);
}

#[tokio::test]
async fn a_genesis_of_another_network_is_refused() {
    let world = World::new();
    let node = Crooked::default();
    node.answer("/v1/genesis", b"not a genesis".to_vec());
    let client = world.client(&[&node.listen().await]);
    assert!(client.genesis().await.unwrap_err().to_string().contains("not believed"));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let world = World::new();
    let node = Crooked::default();
    node.answer("/v1/tasks", vec![0; (16 << 20) + 1]);
    let error = refused(&world.client(&[&node.listen().await])).await;
    assert!(error.contains("an answer of more than"), "{error}");
}

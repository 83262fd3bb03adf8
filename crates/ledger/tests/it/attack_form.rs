//! Bytes that are no transaction, fields beyond their bounds, signatures that do not fit.

use ledger::{Checked, Refusal, check};
use model::*;

use crate::world::*;

fn bounds(refusal: Result<ledger::Meta, Refusal>, what: &str) {
    match refusal {
        Err(
            Refusal::Bounds { what: found, .. }
            | Refusal::Mismatch { what: found, .. }
            | Refusal::Order { what: found },
        ) => {
            assert_eq!(found, what);
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn only_the_canonical_bytes_are_a_transaction() {
    let world = World::new();
    let bytes = world.transaction(&requester(), Action::Transfer { to: stranger().id(), amount: 1 });
    Checked::from_bytes(&bytes, &world.network).unwrap();
    for position in 0..bytes.len() {
        let mut other = bytes.clone();
        other[position] ^= 1;
        assert!(Checked::from_bytes(&other, &world.network).is_err(), "byte {position}");
    }
    for wrong in [&bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat(), &[], &vec![0; Transaction::BYTES_MAX + 1]] {
        assert!(matches!(Checked::from_bytes(wrong, &world.network), Err(Refusal::Encoding(_))));
    }
}

#[test]
fn every_byte_of_every_kind_of_transaction_counts() {
    let mut world = World::new();
    let object = world.published(&data_owner(), ObjectKind::Data, "other");
    let terms = world.terms(&data_owner(), object.manifest.object_id(), 1);
    let publish = world.publish_action(&data_owner(), object, terms);
    let (program, data) = world.publish_both();
    let task = world.assigned(program, data);
    let complete = world.complete(&world.done(&task));
    for bytes in [publish, complete] {
        Checked::from_bytes(&bytes, &world.network).unwrap();
        for position in (0..bytes.len()).step_by(7) {
            let mut other = bytes.clone();
            other[position] ^= 0x10;
            assert!(Checked::from_bytes(&other, &world.network).is_err(), "byte {position}");
        }
    }
}

#[test]
fn a_signature_of_somebody_else_is_refused() {
    let world = World::new();
    let body = Transaction {
        account: requester().id(),
        nonce: 0,
        action: Action::Transfer { to: stranger().id(), amount: 10 },
    };
    let forged = stranger().sign(&world.network, body);
    assert!(matches!(check(&forged, &world.network), Err(Refusal::Signature(_))));
}

#[test]
fn the_memo_knows_bytes_and_network_and_nothing_else() {
    let world = World::new();
    let bytes = world.transaction(&requester(), Action::TopUp { amount: 1 });
    Checked::remembering(&bytes, &world.network, &world.memo).unwrap();
    let other = NetworkId([1; 32]);
    assert!(Checked::remembering(&bytes, &other, &world.memo).is_err());
    let mut forged = bytes.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(Checked::remembering(&forged, &world.network, &world.memo).is_err());
}

#[test]
fn reserved_accounts_neither_send_nor_receive() {
    let world = World::new();
    for reserved in [AccountId::ESCROW, AccountId::TREASURY, AccountId::FAUCET] {
        let to_it = world.transaction(&requester(), Action::Transfer { to: reserved, amount: 1 });
        assert_eq!(Checked::from_bytes(&to_it, &world.network).unwrap_err(), Refusal::Reserved { account: reserved });
        let body = Transaction { account: reserved, nonce: 0, action: Action::TopUp { amount: 1 } };
        let from_it = stranger().sign(&world.network, body);
        assert_eq!(check(&from_it, &world.network), Err(Refusal::Reserved { account: reserved }));
    }
}

#[test]
fn tasks_are_bounded() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let attempt = |change: &dyn Fn(&mut Task)| {
        let mut task = world.ask(program, data);
        let nonce = task.nonce;
        change(&mut task);
        let body = Transaction { account: requester().id(), nonce, action: Action::Submit { task: Box::new(task) } };
        check(&requester().sign(&world.network, body), &world.network)
    };
    attempt(&|_| {}).unwrap();
    let input = |name: &str, object| Input { name: name.into(), object };
    let other = |at: u8| ObjectId::of_manifest(&[at]);
    bounds(attempt(&|task| task.requester = stranger().id()), "requester");
    bounds(attempt(&|task| task.nonce += 1), "nonce");
    bounds(attempt(&|task| task.inputs.clear()), "inputs");
    bounds(attempt(&|task| task.inputs = (0..17).map(|at| input(&format!("n{at:02}"), other(at))).collect()), "inputs");
    for name in ["", ".hidden", "a/b", "ü", "a b", &"x".repeat(65)] {
        bounds(attempt(&|task| task.inputs[0].name = name.into()), "input name");
    }
    attempt(&|task| task.inputs[0].name = "x".repeat(64)).unwrap();
    bounds(attempt(&|task| task.inputs = vec![input("b", data), input("a", other(1))]), "inputs");
    bounds(attempt(&|task| task.inputs = vec![input("a", data), input("a", other(1))]), "inputs");
    bounds(attempt(&|task| task.inputs = vec![input("a", data), input("b", data)]), "objects");
    bounds(attempt(&|task| task.inputs[0].object = program), "objects");
    bounds(attempt(&|task| task.args = vec![String::new(); 65]), "args");
    bounds(attempt(&|task| task.args = vec!["x".repeat(4097)]), "args");
    bounds(attempt(&|task| task.args = vec!["--ok".into(), "a\0b".into()]), "args");
    bounds(attempt(&|task| task.limits.run_ms = 0), "limits");
    bounds(attempt(&|task| task.limits.memory_bytes = 0), "limits");
    bounds(attempt(&|task| task.result_key = Blob(vec![1; 1215])), "result_key");
    // Each of the first and the last two numbers of an ML-KEM key, which are below 3,329, and the first byte after them.
    for (at, bytes, good) in [
        (0, [0x00, 0x0d, 0x00], true),
        (0, [0x01, 0x0d, 0x00], false),
        (0, [0x00, 0x00, 0xd0], true),
        (0, [0x00, 0x10, 0xd0], false),
        (1149, [0x00, 0x0d, 0xd0], true),
        (1149, [0x01, 0x0d, 0x00], false),
        (1149, [0x00, 0x10, 0xd0], false),
        (1152, [0xff, 0xff, 0xff], true),
    ] {
        let attempted = attempt(&|task| task.result_key.0[at..at + 3].copy_from_slice(&bytes));
        if good { assert!(attempted.is_ok(), "{at} {bytes:?}") } else { bounds(attempted, "result_key") }
    }
}

#[test]
fn terms_are_bounded_and_canonical() {
    let mut world = World::new();
    let (_, data) = world.publish_both();
    let attempt = |change: &dyn Fn(&mut Terms)| {
        let mut terms = world.terms(&data_owner(), data, 1);
        change(&mut terms);
        let terms = Box::new(data_owner().sign(&world.network, terms));
        let body = Transaction { account: data_owner().id(), nonce: 9, action: Action::SetTerms { terms } };
        check(&data_owner().sign(&world.network, body), &world.network)
    };
    attempt(&|_| {}).unwrap();
    let mut two = [requester().id(), stranger().id()];
    two.sort_unstable();
    attempt(&|terms| terms.requesters = Allow::Only(two.to_vec())).unwrap();
    bounds(attempt(&|terms| terms.requesters = Allow::Only(vec![two[1], two[0]])), "requesters");
    bounds(attempt(&|terms| terms.requesters = Allow::Only(vec![two[0], two[0]])), "requesters");
    let many: Vec<ObjectId> = (0..257u16).map(|at| ObjectId::of_manifest(&at.to_be_bytes())).collect();
    bounds(attempt(&|terms| terms.counterparts = Allow::Only(many.clone())), "counterparts");
    bounds(attempt(&|terms| terms.owner = stranger().id()), "terms");
}

#[test]
fn objects_are_bounded() {
    let world = World::new();
    let attempt = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = world.manifest(&data_owner(), ObjectKind::Data, "data");
        change(&mut manifest);
        let manifest = data_owner().sign(&world.network, manifest);
        let object = world.publish_manifest(manifest);
        let terms = world.terms(&data_owner(), object.manifest.object_id(), 1);
        let bytes = world.publish_action(&data_owner(), object, terms);
        Checked::from_bytes(&bytes, &world.network).map(|checked| checked.meta())
    };
    attempt(&|_| {}).unwrap();
    bounds(attempt(&|manifest| manifest.seal.chunk_bytes = (1 << 20) + 1), "chunk_bytes");
    bounds(attempt(&|manifest| manifest.seal.chunk_bytes = (1 << 20) - 1), "chunk_bytes");
    bounds(attempt(&|manifest| manifest.seal.chunk_bytes = 0), "chunk_bytes");
    bounds(attempt(&|manifest| manifest.seal.chunks = 0), "chunks");
    bounds(attempt(&|manifest| manifest.seal.chunks = 2), "chunks");
    bounds(attempt(&|manifest| manifest.ciphertext_bytes = u64::MAX), "chunks");
    bounds(attempt(&|manifest| manifest.seal.sealed_meta = Blob(vec![0; 4097])), "sealed_meta");
    bounds(attempt(&|manifest| manifest.leaves = manifest.ciphertext), "leaves");
    let long = Description { text: "x".repeat(17 << 10), ..Description::default() };
    bounds(attempt(&|manifest| manifest.description = Some(long.clone())), "description");
}

#[test]
fn registrations_are_bounded() {
    let world = World::unattested(|_| {});
    let node = nodes()[0].clone();
    let attempt = |change: &dyn Fn(&mut Attestation)| {
        let mut attestation = world.attestation(&node);
        change(&mut attestation);
        let body = Transaction { account: node.id(), nonce: 0, action: Action::Attest(Box::new(attestation)) };
        check(&node.sign(&world.network, body), &world.network)
    };
    attempt(&|_| {}).unwrap();
    bounds(attempt(&|it| it.registration.sealing_key = Blob(vec![0; 32])), "sealing_key");
    bounds(attempt(&|it| it.registration.sealing_key = Blob(vec![0xff; 1216])), "sealing_key");
    bounds(attempt(&|it| it.registration.operator = "x".repeat(65)), "operator");
    bounds(attempt(&|it| it.registration.region = "x".repeat(65)), "region");
    bounds(attempt(&|it| it.registration.attestation_key = Blob(vec![0; 67])), "attestation_key");
    bounds(attempt(&|it| it.registration.node = nodes()[1].id()), "registration");
    bounds(attempt(&|it| it.registration.region = "elsewhere".into()), "vote");
    bounds(attempt(&|it| it.votes.clear()), "votes");
    bounds(attempt(&|it| it.votes.reverse()), "votes");
    bounds(attempt(&|it| it.votes[1] = it.votes[0].clone()), "votes");
}

//! A peer sends anything at all. Decoders refuse it or read something else; they do not panic, hang or swallow memory.

use custody::{
    Action, ContentKey, Custodian, Opener, ResultArchive, ResultFile, open_share, seal_bytes,
    wire::{FromCustodian, ToCustodian},
};
use model::{Blob, Canonical as _, Seal, api::DepositRequest};

use crate::world::{NETWORK, START_MS, World, deposit, released};

/// Small and repeatable; quality does not matter here.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below.max(1)
    }

    fn mutate(&mut self, original: &[u8]) -> Vec<u8> {
        let mut bytes = original.to_vec();
        for _ in 0..=self.roll(3) {
            let at = self.roll(bytes.len());
            match self.roll(4) {
                0 if !bytes.is_empty() => bytes[at] = self.roll(256) as u8,
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.roll(8),
                2 => bytes.truncate(at),
                _ => bytes.insert(at, self.roll(256) as u8),
            }
        }
        bytes
    }
}

fn each_mutation(original: &[u8], count: usize, check: impl Fn(&[u8])) {
    let mut dice = Dice(original.len() as u64);
    for _ in 0..count {
        let bytes = dice.mutate(original);
        if bytes != original {
            check(&bytes);
        }
    }
}

#[test]
fn messages_between_executor_and_custodian() {
    let world = World::new();
    let stage = world.stage();
    let mut custodian = world.custodian(0);
    let collector = world.collector(&stage);
    let request = stage.signed_request(&world, &mut custodian, 0, &collector);
    let shares = released(&stage.ask(&world, &mut custodian, 0, &collector).unwrap());
    let to = ToCustodian::Request(Box::new(request)).to_bytes();
    let from = FromCustodian::Released(shares).to_bytes();
    assert!(to.len() <= ToCustodian::BYTES_MAX && from.len() <= FromCustodian::BYTES_MAX);
    each_mutation(&to, 2_000, |bytes| {
        if let Ok(ToCustodian::Request(request)) = ToCustodian::from_bytes(bytes, ToCustodian::BYTES_MAX) {
            assert!(request.verify(&NETWORK).is_err(), "a changed request still verifies");
        }
    });
    each_mutation(&from, 2_000, |bytes| {
        let _ = FromCustodian::from_bytes(bytes, FromCustodian::BYTES_MAX);
    });
}

#[test]
fn the_largest_answer_fits() {
    let world = World::new();
    let stage = world.stage();
    let shares = released(&stage.ask(&world, &mut world.custodian(0), 0, &world.collector(&stage)).unwrap());
    let most = FromCustodian::Released(vec![shares[0].clone(); 1 + model::Task::INPUTS_MAX]);
    assert!(most.to_bytes().len() <= FromCustodian::BYTES_MAX);
}

#[test]
fn deposit_requests() {
    let world = World::new();
    let original = world.data.requests[0].to_bytes();
    each_mutation(&original, 500, |bytes| {
        if let Ok(request) = DepositRequest::from_bytes(bytes, 256 << 10) {
            assert!(open_share(&NETWORK, &world.nodes[0], &request).is_err(), "a changed deposit is accepted");
        }
    });
}

#[test]
fn seals_and_leaves() {
    let key = ContentKey::generate().unwrap();
    let (ciphertext, sealed) = seal_bytes(b"content", &key).unwrap();
    each_mutation(&sealed.seal.to_bytes(), 2_000, |bytes| {
        if let Ok(seal) = Seal::from_bytes(bytes, 4096) {
            assert!(Opener::new(&key, &seal, &sealed.leaves).is_err(), "a changed seal opens");
        }
    });
    each_mutation(&sealed.leaves, 500, |bytes| assert!(Opener::new(&key, &sealed.seal, bytes).is_err()));
    let opener = Opener::new(&key, &sealed.seal, &sealed.leaves).unwrap();
    each_mutation(&ciphertext, 500, |bytes| assert!(opener.open_chunk(0, bytes.to_vec()).is_err()));
}

#[test]
fn archives() {
    let archive = ResultArchive {
        exit_code: -1,
        stdout: Blob(b"out".to_vec()),
        stderr: Blob(vec![]),
        files: vec![ResultFile { path: "a/b".into(), bytes: Blob(vec![1, 2, 3]) }],
    };
    each_mutation(&archive.encode().unwrap(), 5_000, |bytes| {
        if let Ok(other) = ResultArchive::decode(bytes, 4096) {
            assert!(other.check().is_ok() && other != archive);
        }
    });
}

#[test]
fn stored_state() {
    let world = World::new();
    let stage = world.stage();
    let mut stored = Vec::new();
    let mut custodian = world.empty_custodian(0);
    let deposits = [&world.program, &world.data].map(|object| deposit(object.requests[0].clone()));
    let mut actions: Vec<Action> =
        deposits.into_iter().flat_map(|message| custodian.handle(START_MS, message).unwrap()).collect();
    actions.extend(stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap());
    for action in actions {
        if let Action::Persist { key, value: Some(value) } = action {
            stored.push((key, value));
        }
    }
    let restore = |stored| Custodian::restore(world.config(), world.nodes[0].clone(), [0; 32], stored);
    assert!(restore(stored.clone()).is_ok());
    assert!(restore(vec![("unknown".into(), vec![])]).is_err());
    for (key, value) in &stored {
        each_mutation(value, 200, |bytes| {
            let _ = restore(vec![(key.clone(), bytes.to_vec())]);
        });
    }
}

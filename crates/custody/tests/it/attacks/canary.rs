//! Somebody reads logs and crash reports: nothing secret may be printable, and nothing secret may leave unsealed.

use custody::{Action, ContentKey, NodeIdentity, Opener, ResultArchive, ResultFile, Sealer, SealingKey};
use model::{Blob, Canonical as _};

use crate::world::{SECRET, World, node_seed, released};

/// All ways in which `secret` might show up in text or in bytes.
fn shows(haystack: &[u8], secret: &[u8]) -> bool {
    let contains = |needle: &[u8]| haystack.windows(needle.len()).any(|window| window == needle);
    let list = format!("{secret:?}");
    contains(secret) || contains(hex::encode(secret).as_bytes()) || contains(list.trim_matches(['[', ']']).as_bytes())
}

#[test]
fn the_check_itself_notices_secrets() {
    assert!(shows(b"xx patient 7: malignant xx", SECRET));
    assert!(shows(format!("{:?}", SECRET).as_bytes(), SECRET));
    assert!(shows(hex::encode(SECRET).as_bytes(), SECRET));
    assert!(!shows(b"nothing", SECRET));
}

#[test]
fn debug_output_has_no_secret() {
    let world = World::new();
    let seed = [0xa5; 32];
    let identity = NodeIdentity::from_seed(&seed);
    let signing = identity.expose_signing_seed();
    let opener = Opener::new(&world.data.key, &world.data.sealed.seal, &world.data.sealed.leaves).unwrap();
    let leaf_key = opener.leaf_key();
    let archive = ResultArchive {
        exit_code: 0,
        stdout: Blob(SECRET.to_vec()),
        stderr: Blob(SECRET.to_vec()),
        files: vec![ResultFile { path: "a".into(), bytes: Blob(SECRET.to_vec()) }],
    };
    let share = custody::open_share(&crate::world::NETWORK, &world.nodes[0], &world.data.requests[0]).unwrap();
    let printed = [
        format!("{identity:?} {:?} {:?}", world.data_owner, SealingKey::generate().unwrap()),
        format!("{:?} {opener:?} {archive:?} {:?}", world.data.key, archive.files),
        format!("{:?} {share:?}", Sealer::new(SECRET, &ContentKey::generate().unwrap()).unwrap()),
        format!("{:?} {:#?}", world.custodian(0), world.collector(&world.stage())),
    ]
    .concat();
    for secret in [SECRET, &seed, signing.as_slice(), &leaf_key.0] {
        assert!(!shows(printed.as_bytes(), secret), "{printed}");
    }
}

#[test]
fn refusals_have_no_secret() {
    let mut world = World::new();
    world.data_terms.requesters = model::Allow::Only(vec![]);
    let refusal = world.stage().refusal(&world);
    let text = format!("{refusal} {refusal:?} {:?}", std::error::Error::source(&refusal));
    for secret in [SECRET, &node_seed(1)] {
        assert!(!shows(text.as_bytes(), secret));
    }
}

#[test]
fn nothing_that_leaves_a_machine_shows_the_file_or_a_share() {
    let world = World::new();
    let stage = world.stage();
    let mut custodian = world.custodian(0);
    let mut collector = world.collector(&stage);
    let actions = stage.ask(&world, &mut custodian, 0, &collector).unwrap();
    let mut outside = Vec::new();
    outside.extend_from_slice(&world.data.ciphertext);
    outside.extend_from_slice(&world.data.sealed.leaves);
    outside.extend(world.data.manifest.to_bytes());
    for request in &world.data.requests {
        outside.extend(request.to_bytes());
    }
    for action in &actions {
        outside.extend(format!("{action:?}").into_bytes());
        if let Action::Persist { value: Some(value), .. } = action {
            outside.extend_from_slice(value);
        }
    }
    for share in released(&actions) {
        outside.extend(share.to_bytes());
    }
    let second = stage.ask(&world, &mut world.custodian(1), 1, &collector).unwrap();
    collector.accept(world.nodes[0].node_id(), released(&actions));
    collector.accept(world.nodes[1].node_id(), released(&second));
    assert!(collector.finish().is_ok());
    let opener = Opener::new(&world.data.key, &world.data.sealed.seal, &world.data.sealed.leaves).unwrap();
    for secret in [SECRET, &opener.leaf_key().0, &node_seed(1), world.nodes[0].expose_signing_seed().as_slice()] {
        assert!(!shows(&outside, secret));
    }
}

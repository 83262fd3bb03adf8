//! Other networks, other keys, other histories.

use model::*;
use proof::{Checkpoint, Link, Network, Proof, ProofError};

use crate::{
    interop::{Extension, verify, verify_linked},
    story::Story,
};

fn link(bytes: &[u8], network: &Network) -> Link {
    let error = verify(bytes, network).unwrap_err();
    assert!(!error.hint().is_empty());
    error.link()
}

#[test]
fn a_proof_of_another_network_is_refused() {
    let story = Story::success();
    let (bytes, network) = (story.bytes(), story.file());
    let other_id = Network { id: NetworkId([1; 32]), ..network };
    assert!(matches!(verify(&bytes, &other_id), Err(ProofError::OtherNetwork)));
    let other_key = Network { key: finality::testing::Committee::deal(8).key(), ..network };
    assert!(matches!(verify(&bytes, &other_key), Err(ProofError::OtherNetwork)));
    // The rules of a second network under the first one's name.
    let mut genesis = story.genesis.clone();
    genesis.fees.executor += 1;
    let forged = Proof { genesis: Blob(genesis.to_bytes()), ..story.proof() };
    assert_eq!(link(&forged.to_bytes(), &network), Link::Genesis);
}

#[test]
fn simulated_tpms_must_be_asked_for() {
    let story = Story::success();
    let strict = Network { simulated: false, ..story.file() };
    assert!(matches!(verify(&story.bytes(), &strict), Err(ProofError::Simulated)));
    let verified = verify(&story.bytes(), &story.file()).unwrap();
    assert!(verified.simulated() && verified.self_measured());
    let text = verified.checklist().to_string();
    let (simulated, last) = (text.find("simulated:").unwrap(), text.find("\nverified").unwrap());
    assert!(simulated < last && text.ends_with("verified"));
    assert!(text.contains("self-measured:") && text.contains("custody: development"));
}

#[test]
fn certificates_headers_and_logs_do_not_mix() {
    let story = Story::success();
    let (good, network) = (story.proof(), story.file());
    let chain = story.certified();
    let older = Proof { proven: api::ProvenRecords { head: chain.head_at(3), ..good.proven.clone() }, ..good.clone() };
    assert_eq!(link(&older.to_bytes(), &network), Link::Finality);
    let mut mixed = good.clone();
    mixed.proven.head.header = chain.head_at(3).header;
    assert_eq!(link(&mixed.to_bytes(), &network), Link::Finality);
    // Another committee certifies the same header.
    let mut forged = good.clone();
    let other = finality::testing::Committee::deal(8);
    let header = finality::Header::from_bytes(&good.proven.head.header.0).unwrap();
    forged.proven.head = other.certify(story.network, &header);
    assert_eq!(link(&forged.to_bytes(), &network), Link::Finality);
    let mut moved = good.clone();
    moved.proven.records[0].index += 1;
    assert_eq!(link(&moved.to_bytes(), &network), Link::Finality);
}

#[test]
fn a_checkpoint_is_not_contradicted() {
    let story = Story::success();
    let bytes = story.bytes();
    let verified = verify(&bytes, &story.file()).unwrap();
    let head = verified.head();
    let at_head = Checkpoint {
        height: head.height(),
        time_ms: head.time_ms(),
        log_size: head.log_size(),
        log_root: head.log_root(),
    };
    let with = |checkpoint| Network { checkpoint: Some(checkpoint), ..story.file() };
    let notes = |network: &Network| verify(&bytes, network).unwrap().checklist().warnings.join("\n");
    assert!(!notes(&with(at_head)).contains("checkpoint"));
    assert!(notes(&story.file()).contains("none is pinned"));

    let other_root = Checkpoint { log_root: Digest::of(b"other"), ..at_head };
    let backwards = Checkpoint { height: at_head.height + 1, time_ms: at_head.time_ms - 1, ..at_head };
    let shrunk = Checkpoint { height: 1, time_ms: 1, log_size: at_head.log_size + 1, ..at_head };
    for wrong in [other_root, backwards, shrunk] {
        assert!(matches!(verify(&bytes, &with(wrong)), Err(ProofError::Checkpoint)));
    }

    // An earlier head: linked by a consistency proof, or only not contradicted.
    let chain = story.certified();
    let early = story.file();
    let early = finality::Network { id: early.id, key: early.key }.check_head(&chain.head_at(4)).unwrap();
    let earlier = with(Checkpoint {
        height: early.height(),
        time_ms: early.time_ms(),
        log_size: early.log_size(),
        log_root: early.log_root(),
    });
    assert!(notes(&earlier).contains("no proof links"));
    let extension = chain.prove_extension(early.log_size());
    let (from, to) = (early.log_size(), head.log_size());
    let linked = verify_linked(&bytes, &earlier, &Extension { from, to, digests: extension.digests.clone() }).unwrap();
    assert!(!linked.checklist().warnings.join("\n").contains("checkpoint"));
    let short = Extension { from, to, digests: extension.digests[1..].to_vec() };
    assert!(matches!(verify_linked(&bytes, &earlier, &short), Err(ProofError::Checkpoint)));
}

#[test]
fn the_version_is_checked() {
    let story = Story::success();
    let next = Proof { version: 2, ..story.proof() };
    assert!(matches!(verify(&next.to_bytes(), &story.file()), Err(ProofError::Version(2))));
    // Rules that only look like those of this version.
    let genesis = Genesis { version: 2, ..story.genesis.clone() };
    let next = Proof { genesis: Blob(genesis.to_bytes()), ..story.proof() };
    assert_eq!(link(&next.to_bytes(), &Network { id: genesis.network_id(), ..story.file() }), Link::Genesis);
}

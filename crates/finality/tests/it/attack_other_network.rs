//! Everything right, but on another network or under another key.

use finality::{FinalityError, Network, testing::Committee};
use model::{Bytes96, Canonical as _, NetworkId, Record};

use crate::checks::{NOW, chain, fact};

#[test]
fn another_key_refuses_it() {
    let chain = chain();
    let other = Network { key: Committee::deal(2).key(), ..chain.network() };
    assert_eq!(other.check_head(&chain.head()), Err(FinalityError::Signature));
    assert_eq!(other.check_seed(&chain.seed(1)), Err(FinalityError::Seed));
}

#[test]
fn the_same_committee_on_another_network_refuses_it() {
    let chain = chain();
    let other = Network { id: NetworkId([8; 32]), ..chain.network() };
    assert_eq!(other.check_head(&chain.head()), Err(FinalityError::Signature));
    assert_eq!(other.check_proven(&chain.prove(&[0])), Err(FinalityError::Signature));
    assert_eq!(other.check_seed(&chain.seed(1)), Err(FinalityError::Seed));
}

#[test]
fn a_record_of_another_network_in_this_log_is_refused() {
    let mut chain = chain();
    let network = NetworkId([8; 32]);
    let index =
        chain.raw_block(NOW + 30, vec![Record { network, height: 4, time_ms: NOW + 30, fact: fact(9) }.to_bytes()])[0];
    let checked = chain.network().check_proven(&chain.prove(&[index]));
    assert_eq!(checked, Err(FinalityError::OtherNetwork { index, network }));
}

#[test]
fn a_key_that_is_none_is_said_to_be_none() {
    let chain = chain();
    let mut infinity = [0; 96];
    infinity[0] = 0xc0;
    for key in [[0; 96], [0xff; 96], infinity] {
        let network = Network { key: Bytes96(key), ..chain.network() };
        assert_eq!(network.check_head(&chain.head()), Err(FinalityError::Key));
        assert_eq!(network.check_seed(&chain.seed(1)), Err(FinalityError::Key));
    }
}

#[test]
fn a_rewritten_ledger_does_not_extend_the_one_seen_before() {
    let chain = chain();
    let seen = chain.network().check_head(&chain.head()).unwrap();
    let mut rewritten = Committee::deal(1).chain(chain.network().id);
    rewritten.block(NOW, vec![fact(0), fact(8)]);
    rewritten.block(NOW + 20, vec![fact(2), fact(3), fact(4), fact(5)]);
    let forged = rewritten.prove_extension(seen.log_size());
    let checked = chain.network().check_extension(seen.log_size(), &seen.log_root(), &forged);
    assert_eq!(checked, Err(FinalityError::Extension));
    // Shrinking is no growth either.
    let mut shorter = Committee::deal(1).chain(chain.network().id);
    shorter.block(NOW, vec![fact(0)]);
    let forged = shorter.prove_extension(0);
    let checked = chain.network().check_extension(seen.log_size(), &seen.log_root(), &forged);
    assert_eq!(checked, Err(FinalityError::Extension));
}

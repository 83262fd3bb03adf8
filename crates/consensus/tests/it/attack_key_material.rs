//! Validators with somebody else's key material, or none, must not start.

use std::sync::Arc;

use consensus::{DealError, StartError};
use model::{Digest, NodeId};
use zeroize::Zeroizing;

use crate::{counter::Counter, network::Net};

#[test]
fn a_dealing_has_a_share_for_each_member_and_no_other() {
    let members: Vec<_> = (0..4_u8).map(|member| crate::network::node(&[member; 32])).collect();
    let dealing = consensus::deal(&members).unwrap();
    assert_eq!(dealing.shares.len(), 4);
    assert!(members.iter().all(|member| dealing.shares.iter().any(|(holder, _)| holder == member)));
    assert!(matches!(consensus::deal(&[]), Err(DealError::Members)));
    assert!(matches!(consensus::deal(&[members[0], members[0]]), Err(DealError::Members)));
    assert!(matches!(consensus::deal(&[NodeId::ESCROW]), Err(DealError::Member(NodeId::ESCROW))));
}

#[test]
fn wrong_key_material_does_not_start() {
    let (folder, other_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (net, other) = (Net::new(4, folder.path()), Net::new(4, other_folder.path()));
    let machine = || Arc::new(Counter { network: net.id() });
    let start = |change: &dyn Fn(&mut consensus::Config<'_>)| {
        let mut config = net.config(0);
        change(&mut config);
        consensus::start(config, machine()).err().unwrap()
    };
    // A share of another network, a damaged one, none.
    assert!(matches!(start(&|config| config.share = other.config(0).share), StartError::Keys(DealError::Share)));
    assert!(matches!(start(&|config| config.share[5] ^= 1), StartError::Keys(DealError::Share)));
    assert!(matches!(start(&|config| config.share.clear()), StartError::Keys(DealError::Share)));
    // Somebody who is no member.
    let stranger = Digest::of(b"stranger").0;
    assert!(matches!(start(&|config| config.identity = Zeroizing::new(stranger)), StartError::NotValidator(_)));
    // Another network's id.
    assert!(matches!(start(&|config| config.network = other.id()), StartError::OtherNetwork { .. }));
    // An address somebody else listens on.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    assert!(matches!(start(&|config| config.listen = address), StartError::Listen { .. }));

    // A genesis whose polynomial is not that of its key.
    let mut genesis = net.genesis.clone();
    genesis.sharing = other.genesis.sharing.clone();
    let mut config = net.config(0);
    (config.network, config.genesis) = (genesis.network_id(), &genesis);
    assert!(matches!(consensus::start(config, machine()), Err(StartError::Keys(DealError::Genesis(_)))));
}

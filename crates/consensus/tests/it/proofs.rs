//! What a running network serves is what `finality` accepts, from every validator.

use std::time::{Duration, Instant};

use consensus::QueryError;
use ed25519_dalek::SigningKey;
use finality::FinalityError;
use model::{Blob, Fact};

use crate::{
    counter::{ALARM, account_key, transaction},
    finalized,
    network::Net,
    within,
};

#[test]
fn a_network_finalizes_and_proves() {
    let folder = tempfile::tempdir().unwrap();
    let net = Net::new(4, folder.path());
    let validators = net.start_all();
    within(120, async {
        let network = net.network();
        // An empty ledger proves its emptiness.
        let empty = validators[0].prove(&[]).await.unwrap();
        let (head, records) = network.check_proven(&empty).unwrap();
        assert_eq!((head.log_size(), records.len()), (0, 0));

        let key = SigningKey::from_bytes(&[1; 32]);
        let ids: Vec<_> = (0..20)
            .map(|nonce| validators[nonce as usize % 4].submit(transaction(&key, nonce, nonce)).unwrap())
            .collect();
        for validator in &validators {
            finalized(validator, &ids).await;
        }
        for validator in &validators {
            // Records, all with one proof, each naming its transaction.
            let proven = validator.prove(&(0..20).collect::<Vec<_>>()).await.unwrap();
            let (head, records) = network.check_proven(&proven).unwrap();
            assert_eq!((head.log_size(), records.len()), (20, 20));
            for (record, id) in records.iter().zip(&ids) {
                let Fact::Releases(releases) = &record.get().fact else { panic!("another fact") };
                assert_eq!(releases.task.0, id.0);
            }
            let size = proven.head.certificate.0.len();
            assert!(size <= 158, "{size} bytes of certificate");

            // The live state: what is there, and what is not.
            let account = account_key(&key.verifying_key().to_bytes());
            let value = [20_u64.to_be_bytes(), (0..20_u64).sum::<u64>().to_be_bytes()].concat();
            assert_eq!(validator.read(&[account, [9; 32]]).await.unwrap(), [Some(value.clone()), None]);
            let present = validator.prove_state(account).await.unwrap();
            assert_eq!(network.check_state(&present).unwrap().1, Some(value));
            let absent = validator.prove_state([9; 32]).await.unwrap();
            assert_eq!(network.check_state(&absent).unwrap().1, None);
            refuse_changed_state(&network, &present);
            refuse_changed_state(&network, &absent);

            // Growth.
            let extension = validator.prove_extension(7).await.unwrap();
            let old = network.check_head(&extension.head).unwrap();
            assert!(old.log_size() >= 20);
            let root = model::log::Tree::of(records.iter().take(7).map(|record| record.digest())).root(7).unwrap();
            network.check_extension(7, &root, &extension).unwrap();
            assert!(matches!(validator.prove(&[999]).await, Err(QueryError::NoRecord(999))));
            assert!(matches!(validator.prove(&[2, 1]).await, Err(QueryError::NotAscending)));
            assert!(matches!(validator.prove_extension(999).await, Err(QueryError::Shorter { .. })));
        }

        // Subscriptions begin anywhere and have no gaps; beacons verify.
        let mut subscription = validators[2].subscribe(2);
        for height in 2..validators[2].tip().height {
            let block = subscription.next().await.unwrap().unwrap();
            assert_eq!(block.height, height);
            network.check_seed(&block.seed.unwrap()).unwrap();
        }
        for validator in &validators {
            validator.shutdown().await;
        }
        while subscription.next().await.unwrap().is_some() {}
    });
}

fn refuse_changed_state(network: &finality::Network, proven: &model::api::ProvenState) {
    let changed = |proof: &[u8]| model::api::ProvenState { proof: Blob(proof.to_vec()), ..proven.clone() };
    for position in 0..proven.proof.0.len() {
        let mut proof = proven.proof.0.clone();
        proof[position] ^= 1 << (position % 8);
        assert_eq!(network.check_state(&changed(&proof)), Err(FinalityError::State), "byte {position}");
    }
    let bytes = &proven.proof.0;
    assert!(network.check_state(&changed(&bytes[1..])).is_err());
    assert!(network.check_state(&changed(&[&bytes[..], &[0]].concat())).is_err());
    let other = if proven.value.is_some() { None } else { Some(Blob(vec![1])) };
    let claimed = model::api::ProvenState { value: other, ..proven.clone() };
    assert_eq!(network.check_state(&claimed), Err(FinalityError::State));
    let mut key = proven.key;
    key.0[31] ^= 1;
    let moved = model::api::ProvenState { key, ..proven.clone() };
    // Absence of one key shows absence of its neighbour; presence never does.
    assert_eq!(network.check_state(&moved).is_err(), proven.value.is_some());
}

#[test]
fn due_work_does_not_wait_for_the_heartbeat() {
    let folder = tempfile::tempdir().unwrap();
    let net = Net::new(4, folder.path());
    let validators: Vec<_> = (0..4)
        .map(|member| {
            let mut config = net.config(member);
            config.timing.heartbeat = Duration::from_secs(20);
            config.timing.leader = Duration::from_secs(25);
            config.timing.certification = Duration::from_secs(30);
            let machine = crate::counter::Counter { network: net.id() };
            consensus::start(config, std::sync::Arc::new(machine)).unwrap()
        })
        .collect();
    within(120, async {
        let key = SigningKey::from_bytes(&[1; 32]);
        let id = validators[0].submit(transaction(&key, 0, ALARM + 500)).unwrap();
        finalized(&validators[0], &[id]).await;
        let set = Instant::now();
        // The second record says that the alarm rang.
        let rang = validators[0].certified_at(2).await.unwrap();
        assert!(set.elapsed() < Duration::from_secs(10), "{:?}", set.elapsed());
        assert_eq!(net.network().check_head(&rang).unwrap().log_size(), 2);
        for validator in &validators {
            validator.shutdown().await;
        }
    });
}

//! Transactions that must not be taken, or must not take anything from others.

use consensus::SubmitError;
use ed25519_dalek::SigningKey;
use model::api::TransactionStatus;

use crate::{counter::transaction, finalized, network::Net, within};

#[test]
fn bad_transactions_are_refused_and_stuck_ones_do_not_stop_others() {
    let folder = tempfile::tempdir().unwrap();
    let net = Net::new(4, folder.path());
    let validators = net.start_all();
    within(120, async {
        let (key, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let mut forged = transaction(&key, 0, 5);
        *forged.last_mut().unwrap() ^= 1;
        assert!(matches!(validators[0].submit(forged), Err(SubmitError::Refused(_))));
        assert!(matches!(validators[0].submit(Vec::new()), Err(SubmitError::Refused(_))));
        assert!(matches!(validators[0].submit(vec![0; 200 << 10]), Err(SubmitError::TooLong { .. })));

        // A gap before it: it waits.
        let waiting = validators[0].submit(transaction(&key, 1, 5)).unwrap();
        assert_eq!(validators[0].submit(transaction(&key, 1, 5)).unwrap(), waiting);
        let first = validators[1].submit(transaction(&other, 0, 1)).unwrap();
        finalized(&validators[0], &[first]).await;
        assert_eq!(validators[0].status(&waiting), TransactionStatus::Pending);

        // The gap is filled through another validator: both become final.
        let filled = validators[2].submit(transaction(&key, 0, 5)).unwrap();
        finalized(&validators[3], &[filled, waiting]).await;
        finalized(&validators[0], &[filled, waiting]).await;

        // A nonce that was used: refused by proposals, and dropped after some of them.
        let stale = validators[0].submit(transaction(&key, 0, 7)).unwrap();
        let mut nonce = 1;
        while validators[0].status(&stale) == TransactionStatus::Pending {
            let id = validators[0].submit(transaction(&other, nonce, 1)).unwrap();
            finalized(&validators[0], &[id]).await;
            nonce += 1;
            assert!(nonce < 500, "a transaction that can never be executed is still offered");
        }
        assert_eq!(validators[0].status(&stale), TransactionStatus::Unknown);
        for validator in &validators {
            validator.shutdown().await;
        }
        assert!(matches!(validators[0].submit(transaction(&key, 2, 1)), Err(SubmitError::Stopped)));
    });
}

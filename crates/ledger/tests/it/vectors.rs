//! Pins the format of transactions: `docs/spec/vectors/transaction.json` holds one of each kind, all accepted by one ledger, and
//! this code must still produce them byte for byte. `SAMOVAR_BLESS=1` writes them anew, which is a change of format.

use model::*;
use serde::{Deserialize, Serialize};

use crate::world::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Vectors {
    about: String,
    /// Canonical bytes; the network id is their digest, and the fees are in them.
    genesis: Blob,
    network: NetworkId,
    transactions: Vec<Vector>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Vector {
    action: String,
    /// The secret key (RFC 8032) of `account`.
    seed: Bytes32,
    account: AccountId,
    nonce: u64,
    /// Canonical bytes of the signed transaction.
    signed: Blob,
    signature: Bytes64,
    id: Digest,
    fee: u64,
}

/// A ledger that takes whatever is to become a vector.
struct Story {
    world: World,
    vectors: Vec<Vector>,
}

impl Story {
    fn take(&mut self, sender: &Key, transaction: Vec<u8>) {
        let signed = Signed::<Transaction>::from_bytes(&transaction, Transaction::BYTES_MAX).unwrap();
        let body = signed.unverified();
        assert_eq!(body.account, sender.id());
        self.vectors.push(Vector {
            action: body.action.name().into(),
            seed: sender.seed(),
            account: body.account,
            nonce: body.nonce,
            signature: *signed.signature(),
            id: signed.id(),
            fee: self.world.fee(&transaction),
            signed: Blob(transaction.clone()),
        });
        self.world.block(vec![transaction]);
    }

    fn send(&mut self, sender: &Key, action: Action) {
        let transaction = self.world.transaction(sender, action);
        self.take(sender, transaction);
    }
}

fn vectors() -> Vectors {
    let mut story = Story { world: World::unattested(|_| {}), vectors: Vec::new() };
    let newcomer = Key::new(9);
    story.send(&newcomer, Action::TopUp { amount: 5_000 });
    story.send(&newcomer, Action::Transfer { to: stranger().id(), amount: 10 });
    for (at, node) in nodes().iter().enumerate() {
        let attest = story.world.attest(node);
        if at == 0 { story.take(node, attest) } else { drop(story.world.block(vec![attest])) }
    }

    let program = story.world.publish(&program_owner(), ObjectKind::Program, "program", |_| {});
    let published = story.world.published(&data_owner(), ObjectKind::Data, "data");
    let data = published.manifest.object_id();
    let terms = story.world.terms(&data_owner(), data, 5);
    let publish = story.world.publish_action(&data_owner(), published, terms);
    story.take(&data_owner(), publish);
    let stricter = story.world.set_terms(&data_owner(), data, |terms| {
        terms.requesters = Allow::Only(vec![requester().id()]);
        terms.counterparts = Allow::Only(vec![program]);
        terms.output_bytes_max = Some(500);
    });
    story.take(&data_owner(), stricter);

    let task = story.world.ask(program, data);
    let submit = story.world.submit_action(&task);
    story.take(&requester(), submit);
    story.world.blocks(2);
    let custodian = nodes()[0].clone();
    let mut own = story.world.releases(&task.id(), 2);
    own.retain(|release| release.unverified().custodian == custodian.id());
    story.send(&custodian, Action::PostReleases { task: task.id(), releases: own });
    let completion = story.world.done(&task.id());
    story.send(&story.world.executor(&task.id()), Action::Complete(Box::new(completion)));

    Vectors {
        about: "One transaction of each kind, in the order in which a ledger took them.".into(),
        genesis: Blob(story.world.genesis.to_bytes()),
        network: story.world.network,
        transactions: story.vectors,
    }
}

#[test]
fn transactions_are_what_the_committed_vectors_say() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/vectors/transaction.json");
    let made = vectors();
    if std::env::var_os("SAMOVAR_BLESS").is_some() {
        std::fs::write(file, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let committed: Vectors = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(made, committed);

    let actions: Vec<_> = committed.transactions.iter().map(|vector| vector.action.as_str()).collect();
    let all = ["top-up", "transfer", "attest", "publish", "set-terms", "submit", "post-releases", "complete"];
    assert_eq!(actions, all, "one of each kind");
    for Vector { action, signed, .. } in &committed.transactions {
        let signed = Signed::<Transaction>::from_bytes(&signed.0, Transaction::BYTES_MAX).unwrap();
        signed.verify(&committed.network).unwrap();
        assert!(signed.verify(&NetworkId([0; 32])).is_err(), "{action} on another network");
    }
}

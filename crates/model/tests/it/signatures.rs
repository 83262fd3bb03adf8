//! A signature holds for one record, one signer, one purpose and one network.

use ed25519_dalek::{Signer, SigningKey};
use model::{
    AccountId, Allow, Bytes64, ContentId, NetworkId, ObjectId, Signable, Signed, StorageAck, Terms, domain_message,
};

const NETWORK: NetworkId = NetworkId([1; 32]);

fn key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

fn account(key: &SigningKey) -> AccountId {
    AccountId(key.verifying_key().to_bytes())
}

fn ack() -> StorageAck {
    StorageAck { content: ContentId::of_raw(b"x"), bytes: 1, until_ms: 2, node: account(&key()) }
}

fn sign<T: Signable>(key: &SigningKey, network: &NetworkId, body: T) -> Signed<T> {
    let signature = key.sign(&Signed::message(network, &body)).to_bytes();
    Signed::assemble(body, Bytes64(signature))
}

#[test]
fn the_signer_on_its_network_verifies() {
    let signed = sign(&key(), &NETWORK, ack());
    assert_eq!(signed.verify(&NETWORK), Ok(&ack()));
}

#[test]
fn another_network_another_signer_and_another_record_are_refused() {
    let signed = sign(&key(), &NETWORK, ack());
    assert!(signed.verify(&NetworkId([2; 32])).is_err(), "another network");

    let forger = SigningKey::from_bytes(&[6; 32]);
    assert!(sign(&forger, &NETWORK, ack()).verify(&NETWORK).is_err(), "another signer");

    let more = StorageAck { bytes: 2, ..ack() };
    assert!(Signed::assemble(more, *signed.signature()).verify(&NETWORK).is_err(), "another record");
}

#[test]
fn a_signature_for_one_purpose_is_worth_nothing_for_another() {
    let body = Terms {
        object: ObjectId::of_manifest(b"o"),
        owner: account(&key()),
        serial: 1,
        price: 0,
        requesters: Allow::Any,
        counterparts: Allow::Any,
        uses_max: None,
        expires_ms: None,
        output_bytes_max: None,
        revoked: false,
    };
    let as_ack = domain_message(&NETWORK, StorageAck::PURPOSE, &model::Canonical::to_bytes(&body));
    let forged = Signed::assemble(body, Bytes64(key().sign(&as_ack).to_bytes()));
    assert!(forged.verify(&NETWORK).is_err());
}

#[test]
fn keys_of_small_order_and_reserved_accounts_sign_nothing() {
    for node in [AccountId([0; 32]), AccountId([1; 32]), AccountId::ESCROW, AccountId::TREASURY, AccountId::FAUCET] {
        let body = StorageAck { node, ..ack() };
        assert!(Signed::assemble(body, Bytes64([0; 64])).verify(&NETWORK).is_err(), "{node}");
    }
}

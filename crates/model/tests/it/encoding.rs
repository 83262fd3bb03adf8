//! Two different byte strings never decode to the same value.

use model::{AccountId, Allow, Blob, Canonical, ContentId, Description, EncodingError, ObjectId, Terms};

fn terms() -> Terms {
    Terms {
        object: ObjectId::of_manifest(b"an object"),
        owner: AccountId([7; 32]),
        serial: 1,
        price: 5,
        requesters: Allow::Any,
        counterparts: Allow::Only(vec![ObjectId::of_manifest(b"a"), ObjectId::of_manifest(b"b")]),
        uses_max: Some(100),
        expires_ms: None,
        output_bytes_max: Some(65_536),
        revoked: false,
    }
}

#[test]
fn terms_survive_the_round_trip_in_cbor_and_json() {
    let terms = terms();
    let bytes = terms.to_bytes();
    assert_eq!(Terms::from_bytes(&bytes, Terms::BYTES_MAX), Ok(terms.clone()));
    let json = serde_json::to_string(&terms).unwrap();
    assert!(json.contains("did:key:z6M") && json.contains("bafy"), "{json}");
    assert_eq!(serde_json::from_str::<Terms>(&json).unwrap(), terms);
}

#[test]
fn no_changed_byte_decodes_to_the_same_terms() {
    let terms = terms();
    let bytes = terms.to_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Ok(other) = Terms::from_bytes(&changed, Terms::BYTES_MAX) {
                assert_ne!(other, terms, "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn trailing_missing_and_too_many_bytes_are_refused() {
    let bytes = terms().to_bytes();
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(Terms::from_bytes(&longer, Terms::BYTES_MAX).is_err());
    assert!(Terms::from_bytes(&bytes[..bytes.len() - 1], Terms::BYTES_MAX).is_err());
    assert!(matches!(Terms::from_bytes(&bytes, 10), Err(EncodingError::TooLong { bytes_max: 10, .. })));
    assert!(Terms::from_bytes(&[], Terms::BYTES_MAX).is_err());
}

#[test]
fn the_long_form_of_an_integer_is_refused() {
    // {"0": 5} style maps aside, the shortest struct with an integer: Blob has none, so take Description's neighbour.
    let bytes = terms().to_bytes();
    let key = b"eprice"; // 0x65 'price' is the text key; its value is the single byte 05
    let at = bytes.windows(5).position(|window| window == &key[1..]).unwrap() + 5;
    assert_eq!(bytes[at], 0x05);
    let mut longer = bytes[..at].to_vec();
    longer.extend_from_slice(&[0x18, 0x05]); // the same 5, in two bytes
    longer.extend_from_slice(&bytes[at + 1..]);
    assert!(Terms::from_bytes(&longer, Terms::BYTES_MAX).is_err());
}

#[test]
fn unknown_fields_are_refused() {
    let json = r#"{"title":"t","colour":"red"}"#;
    assert!(serde_json::from_str::<Description>(json).unwrap_err().to_string().contains("colour"));
}

#[test]
fn ids_say_what_they_expect() {
    for text in ["", "did:key:z6Mk", "did:key:zzzzzzzz", "0x00", &"did:key:z".repeat(50)] {
        let error = text.parse::<AccountId>().unwrap_err().to_string();
        assert!(error.ends_with("is not an account (did:key:z6Mk…)"), "{error}");
    }
    let account = AccountId([9; 32]);
    assert_eq!(account.to_string().parse::<AccountId>(), Ok(account));
    for reserved in [AccountId::ESCROW, AccountId::TREASURY, AccountId::FAUCET] {
        assert_eq!(reserved.to_string().parse::<AccountId>(), Ok(reserved));
    }
    assert!(
        "QmXDW6oZoNAgXoy98bRc3wmghKcgMnxfbjDgjLHYRfJHCq".parse::<ContentId>().is_err(),
        "version 0 has another hash space"
    );
    assert!("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy".parse::<ContentId>().is_ok());
}

#[test]
fn cids_are_those_of_ipfs() {
    // `printf hello | ipfs add --cid-version=1 --raw-leaves`
    let cid = ContentId::of_raw(b"hello");
    assert_eq!(cid.to_string(), "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq");
    assert_eq!(Blob(vec![1, 2]).to_bytes(), [0x42, 1, 2]);
}

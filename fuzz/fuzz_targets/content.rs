//! Bitswap messages, CAR files and UnixFS vertices from peers nobody trusts.
#![no_main]

use std::sync::LazyLock;

use content::{
    Block,
    bitswap::{Entry, Message, Payload, Presence, Wanted, decode_message},
    car::{self, Decoder, Item},
    unixfs,
};
use libfuzzer_sys::fuzz_target;
use model::ContentId;
use samovar_fuzz::input;

static VALUES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let leaves: Vec<Block> = (0..3).map(|byte| Block::raw(vec![byte; 40]).expect("small")).collect();
    let cid = |at: usize| leaves[at].cid().0.to_bytes().into();
    let entry = |at, cancel, wanted| Entry { cid: cid(at), cancel, wanted, send_dont_have: at == 1 };
    let message = Message {
        full: true,
        entries: vec![entry(0, false, Wanted::Block), entry(1, false, Wanted::Have), entry(2, true, Wanted::Block)],
        blocks: leaves
            .iter()
            .map(|leaf| Payload { prefix: vec![1, 0x55, 0x12, 0x20].into(), data: leaf.data().clone() })
            .collect(),
        presences: vec![Presence { cid: cid(0), have: true }, Presence { cid: cid(1), have: false }],
    };
    let mut archive = car::encode_header(&[*leaves[0].cid(), *leaves[1].cid()]).to_vec();
    leaves.iter().for_each(|leaf| archive.extend_from_slice(&car::encode_block(leaf)));
    vec![message.encode()[1..].concat(), archive, vertex(&leaves)]
});

/// dag-pb with links to these leaves, around UnixFS that says how large they are.
fn vertex(leaves: &[Block]) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8][..], bytes].concat();
    let link = |leaf: &Block| field(2, &[field(1, &leaf.cid().0.to_bytes()), field(2, b""), vec![3 << 3, 40]].concat());
    let sizes: Vec<u8> = leaves.iter().flat_map(|_| [4 << 3, 40]).collect();
    let file = [&[1 << 3, 2, 3 << 3, 40 * leaves.len() as u8][..], &sizes].concat();
    [leaves.iter().flat_map(link).collect(), field(1, &file)].concat()
}

fn messages(bytes: &[u8]) {
    if let Ok(message) = decode_message(bytes) {
        let again = decode_message(&message.encode()[1..].concat());
        assert_eq!(again.as_ref(), Ok(&message), "a message changes when it is sent on");
    }
}

/// However the bytes are cut into pieces, the same comes out.
fn archives(bytes: &[u8]) {
    let at_once = car::decode(bytes);
    let mut decoder = Decoder::new();
    let mut items = Vec::new();
    for piece in bytes.chunks(1 + bytes.len() / 7) {
        decoder.push(piece);
        loop {
            match decoder.next_item() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(_) => return assert!(at_once.is_err(), "refused in pieces only"),
            }
        }
    }
    assert_eq!(at_once.is_ok(), decoder.finish().is_ok());
    let Ok(at_once) = at_once else { return };
    assert_eq!(at_once, items);
    let written: Vec<u8> = items
        .iter()
        .flat_map(|item| match item {
            Item::Roots(roots) => car::encode_header(roots),
            Item::Block(block) => car::encode_block(block),
        })
        .collect();
    assert_eq!(car::decode(&written).expect("what was read can be written"), items);
}

fn vertices(bytes: &[u8]) {
    if let Ok((_, links)) = unixfs::decode_inner(bytes) {
        assert!(links > 0 && links <= bytes.len() / 36, "more links than bytes for them");
    }
}

fuzz_target!(|bytes: &[u8]| {
    LazyLock::force(&VALUES);
    let bytes = &input(&VALUES, bytes);
    messages(bytes);
    archives(bytes);
    vertices(bytes);
    if let Ok(cid) = cid_of(bytes) {
        assert_eq!(cid.to_string().parse(), Ok(cid));
    }
});

fn cid_of(bytes: &[u8]) -> Result<ContentId, ()> {
    std::str::from_utf8(bytes).map_err(drop)?.parse().map_err(drop)
}

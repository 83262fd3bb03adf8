//! Archives made to mislead or to exhaust.

use bytes::Bytes;
use content::{
    Block, BlockError,
    car::{self, CarError},
};
use futures::{StreamExt, stream};
use model::ContentId;
use multihash_codetable::Code;
use rust_unixfs::file::adder::{FileBranchLink, rebuild_file_branch};

use crate::world::{BYTES_MAX, PAGE, store};

fn varint(value: usize) -> Vec<u8> {
    let mut buffer = unsigned_varint::encode::usize_buffer();
    unsigned_varint::encode::usize(value, &mut buffer).to_vec()
}

fn with_header(section: &[u8]) -> Vec<u8> {
    [&car::encode_header(&[]), section].concat()
}

fn section(cid: &[u8], data: &[u8]) -> Vec<u8> {
    [&varint(cid.len() + data.len()), cid, data].concat()
}

#[test]
fn a_block_with_another_hash_is_refused() {
    let cid = ContentId::of_raw(b"promised");
    let car = with_header(&section(&cid.0.to_bytes(), b"delivered"));
    assert!(matches!(car::decode(&car), Err(CarError::Block(BlockError::WrongHash { .. }))));
}

#[tokio::test]
async fn nothing_of_a_block_with_another_hash_is_stored() {
    let (_dir, store) = store();
    let cid = ContentId::of_raw(b"promised");
    let car = with_header(&section(&cid.0.to_bytes(), b"delivered"));
    let refused = car::receive(&store, stream::iter([Ok(Bytes::from(car))]).boxed(), BYTES_MAX).await;
    assert!(matches!(refused, Err(CarError::Block(_))));
    assert!(!store.has(&cid));
    assert_eq!(store.used_bytes(), 0);
}

#[test]
fn announced_lengths_are_bounded_before_anything_is_allocated() {
    for len in [car::HEADER_BYTES_MAX + 1, 1 << 30] {
        assert!(matches!(car::decode(&varint(len)), Err(CarError::Header { reason: "longer than allowed" })));
    }
    for len in [Block::BYTES_MAX + 97, 1 << 34] {
        let car = with_header(&varint(len));
        assert!(matches!(car::decode(&car), Err(CarError::Section { reason: "longer than allowed" })));
    }
    assert!(matches!(car::decode(&[0xff; 10]), Err(CarError::Header { reason: "bad length" })));
}

#[test]
fn a_block_above_the_limit_is_refused() {
    let data = vec![0; Block::BYTES_MAX + 1];
    let car = with_header(&section(&ContentId::of_raw(&data).0.to_bytes(), &data));
    assert!(matches!(car::decode(&car), Err(CarError::Block(BlockError::TooLarge { .. }))));
}

#[test]
fn empty_sections_do_not_loop() {
    assert!(matches!(car::decode(&with_header(&[0])), Err(CarError::Section { reason: "empty" })));
    assert!(matches!(car::decode(&[0]), Err(CarError::Header { reason: "empty" })));
}

#[test]
fn cids_of_other_hashes_and_versions_are_refused() {
    let sha512 = cid::multihash::Multihash::wrap(0x13, &[1; 64]).unwrap();
    let identity = cid::multihash::Multihash::wrap(0, b"inline").unwrap();
    let sha256 = cid::multihash::Multihash::wrap(0x12, &[1; 32]).unwrap();
    let foreign = [
        cid::Cid::new_v1(0x55, sha512).to_bytes(),
        cid::Cid::new_v1(0x55, identity).to_bytes(),
        cid::Cid::new_v0(sha256).unwrap().to_bytes(),
        cid::Cid::new_v1(0x0200, sha256).to_bytes(),
    ];
    for cid in foreign {
        let car = with_header(&section(&cid, b"data"));
        assert!(matches!(car::decode(&car), Err(CarError::Block(BlockError::ForeignCid))), "{cid:02x?}");
    }
}

#[test]
fn other_versions_and_too_many_roots_are_refused() {
    let version_2 = [&[0x0a, 0xa1, 0x67][..], b"version", &[0x02]].concat();
    assert!(matches!(car::decode(&version_2), Err(CarError::Header { .. })));
    let roots = vec![ContentId::of_raw(b"x"); car::ROOTS_MAX + 1];
    assert!(matches!(car::decode(&car::encode_header(&roots)), Err(CarError::Header { reason: "too many roots" })));
}

#[test]
fn every_cut_is_noticed() {
    let block = Block::raw(&b"a block"[..]).unwrap();
    let header = car::encode_header(&[*block.cid()]);
    let whole = [header.clone(), car::encode_block(&block)].concat();
    assert_eq!(car::decode(&whole).unwrap().len(), 2);
    for len in 0..whole.len() {
        // between two sections a cut cannot be seen in the archive itself; `receive` misses the root then
        let noticed = matches!(car::decode(&whole[..len]), Err(CarError::Truncated));
        assert_eq!(noticed, len != header.len(), "cut at {len}");
    }
}

#[tokio::test]
async fn an_archive_without_its_root_is_refused() {
    let (_dir, store) = store();
    let header = car::encode_header(&[ContentId::of_raw(b"not inside")]);
    let refused = car::receive(&store, stream::iter([Ok(header)]).boxed(), BYTES_MAX).await;
    assert!(matches!(refused, Err(CarError::Root(_))));
    assert!(store.roots().unwrap().is_empty());
}

/// The same valid block for ever: stopped at the limit, stored once.
#[tokio::test]
async fn an_endless_archive_is_cut_off() {
    let (_dir, store) = store();
    let block = Block::raw(vec![5; 1 << 16]).unwrap();
    let piece = car::encode_block(&block);
    let head = stream::iter([Ok(car::encode_header(&[*block.cid()]))]);
    let endless = head.chain(stream::repeat_with(move || Ok(piece.clone())));
    let refused = car::receive(&store, endless.boxed(), 16 << 20).await;
    assert!(matches!(refused, Err(CarError::TooLarge { bytes_max }) if bytes_max == 16 << 20));
    assert_eq!(store.used_bytes(), 1 << 16);
}

/// Blocks, roots and vertices again and again: each is stored, counted and looked at once.
#[tokio::test]
async fn what_is_repeated_counts_once() {
    let (_dir, store) = store();
    let leaf = Block::raw(vec![5; 1000]).unwrap();
    let link = FileBranchLink { cid: leaf.cid().0, blocksize: 1000, tsize: 1000 };
    let (cid, data) = rebuild_file_branch(30_000_000, &vec![link; 30_000], cid::Version::V1, Code::Sha2_256);
    let root = Block::check(ContentId(cid), data.into()).unwrap();
    let mut pieces = vec![Ok(car::encode_header(&[*root.cid(); car::ROOTS_MAX]))];
    for _ in 0..100 {
        pieces.push(Ok(car::encode_block(&root)));
        pieces.extend((0..10).map(|_| Ok(car::encode_block(&leaf))));
    }
    let received = car::receive(&store, stream::iter(pieces).boxed(), BYTES_MAX).await.unwrap();
    assert_eq!((received.roots, received.blocks), (vec![(*root.cid(), 30_000_000)], 2));
    assert_eq!(store.used_bytes(), PAGE + (root.data().len() as u64).next_multiple_of(PAGE));
    assert_eq!(store.iter().unwrap().count(), 2);
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_no_root() {
    let (_dir, store) = store();
    let block = Block::raw(&b"first"[..]).unwrap();
    let head = [car::encode_header(&[*block.cid()]), car::encode_block(&block)].concat();
    let pieces = stream::iter([Ok(Bytes::from(head)), Err(std::io::ErrorKind::ConnectionReset.into())]);
    assert!(matches!(car::receive(&store, pieces.boxed(), BYTES_MAX).await, Err(CarError::Receive(_))));
    assert!(store.roots().unwrap().is_empty());
}

//! Roots made to mislead: sizes that lie, levels without end, links to other things.

use bytes::Bytes;
use content::{Block, Store, UnixFsError, unixfs};
use model::ContentId;
use multihash_codetable::Code;
use rust_unixfs::file::adder::{FileBranchLink, rebuild_file_branch};

use crate::world::store;

fn vertex(store: &Store, bytes: u64, links: &[(ContentId, u64)]) -> ContentId {
    let links: Vec<FileBranchLink> =
        links.iter().map(|(cid, bytes)| FileBranchLink { cid: cid.0, blocksize: *bytes, tsize: *bytes }).collect();
    let (cid, data) = rebuild_file_branch(bytes, &links, cid::Version::V1, Code::Sha2_256);
    let block = Block::check(ContentId(cid), Bytes::from(data)).unwrap();
    store.put(&block).unwrap();
    *block.cid()
}

/// A vertex with one link and as much else as fits into a block.
fn fat_vertex(store: &Store, leaf: &ContentId, bytes: u64) -> ContentId {
    let padding = field(2, &vec![0; Block::BYTES_MAX - 1000]);
    let file = [&[0x08, 0x02][..], &padding, &[0x18, bytes as u8, 0x20, bytes as u8]].concat();
    let data = [field(2, &field(1, &leaf.0.to_bytes())), field(1, &file)].concat();
    let block = Block::check(dag_pb(&data), data.into()).unwrap();
    store.put(&block).unwrap();
    *block.cid()
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut len = unsigned_varint::encode::usize_buffer();
    [&[number << 3 | 2][..], unsigned_varint::encode::usize(bytes.len(), &mut len), bytes].concat()
}

fn dag_pb(data: &[u8]) -> ContentId {
    ContentId(cid::Cid::new_v1(0x70, *ContentId::of_raw(data).0.hash()))
}

fn leaf(store: &Store, bytes: usize) -> ContentId {
    let block = Block::raw(vec![9; bytes]).unwrap();
    store.put(&block).unwrap();
    *block.cid()
}

fn reason(store: &Store, root: &ContentId) -> &'static str {
    match unixfs::complete(store, root) {
        Err(UnixFsError::NotAFile { reason, .. }) => reason,
        other => panic!("expected a refusal, not {other:?}"),
    }
}

#[test]
fn sizes_that_do_not_add_up_are_refused() {
    let (_dir, store) = store();
    let leaf = leaf(&store, 10);
    let root = vertex(&store, 11, &[(leaf, 10)]);
    assert_eq!(reason(&store, &root), "sizes do not add up");
    assert!(store.kept(&root).unwrap().is_none());
}

#[test]
fn a_leaf_of_another_size_than_declared_is_refused() {
    let (_dir, store) = store();
    let leaf = leaf(&store, 10);
    let root = vertex(&store, 12, &[(leaf, 12)]);
    assert_eq!(reason(&store, &root), "a leaf has another size than its parent declares");
    assert!(unixfs::export(&store, &root, &mut Vec::new()).is_err());
}

#[test]
fn a_vertex_of_another_size_than_declared_is_refused() {
    let (_dir, store) = store();
    let leaf = leaf(&store, 10);
    let inner = vertex(&store, 10, &[(leaf, 10)]);
    let root = vertex(&store, 20, &[(inner, 20)]);
    assert_eq!(reason(&store, &root), "a vertex has another size than its parent declares");
}

#[test]
fn links_of_no_bytes_are_refused() {
    let (_dir, store) = store();
    let empty = leaf(&store, 0);
    let root = vertex(&store, 0, &[(empty, 0); 100]);
    assert_eq!(reason(&store, &root), "a link with an impossible size");
}

#[test]
fn sizes_that_overflow_are_refused() {
    let (_dir, store) = store();
    let leaf = leaf(&store, 10);
    let inner = vertex(&store, 10, &[(leaf, 10)]);
    let root = vertex(&store, 1, &[(inner, u64::MAX), (inner, 2)]);
    assert_eq!(reason(&store, &root), "sizes overflow");
}

#[test]
fn a_tower_of_vertices_is_refused() {
    let (_dir, store) = store();
    let mut root = leaf(&store, 10);
    for _ in 0..20 {
        root = vertex(&store, 10, &[(root, 10)]);
    }
    assert_eq!(reason(&store, &root), "too many levels");
}

/// 1,000 links to 1,000 links to … one leaf: a few blocks that would be visited a million million times.
#[test]
fn a_bomb_of_shared_vertices_is_refused() {
    let (_dir, store) = store();
    let mut root = leaf(&store, 1);
    let mut bytes = 1;
    for _ in 0..4 {
        let links = vec![(root, bytes); 1000];
        bytes *= 1000;
        root = vertex(&store, bytes, &links);
    }
    assert_eq!(reason(&store, &root), "too many leaves");
}

/// Three blocks that stand for a million leaves are a file, and nothing to be written out leaf by leaf for somebody who said
/// that there is one.
#[test]
fn more_leaves_than_announced_are_refused() {
    let (_dir, store) = store();
    let leaf = leaf(&store, 1);
    let inner = vertex(&store, 1000, &[(leaf, 1); 1000]);
    let root = vertex(&store, 1_000_000, &vec![(inner, 1000); 1000]);
    assert_eq!(unixfs::complete(&store, &root).unwrap(), 1_000_000);
    for announced in [0, 1, 999_999] {
        let refused = unixfs::layout(&store, &root, announced).unwrap_err().to_string();
        assert!(refused.contains("more leaves than it should have"), "{refused}");
    }
    assert_eq!(unixfs::layout(&store, &root, 1_000_000).unwrap().leaves.len(), 1_000_000);
}

/// 4 MiB on disk, and 80,000 MiB to read and hash.
#[test]
fn a_bomb_of_fat_vertices_is_refused() {
    let (_dir, store) = store();
    let leaf = leaf(&store, 10);
    let fat = fat_vertex(&store, &leaf, 10);
    assert_eq!(unixfs::complete(&store, &fat).unwrap(), 10);
    let few = vertex(&store, 100, &[(fat, 10); 10]);
    assert_eq!(unixfs::complete(&store, &few).unwrap(), 100);
    let root = vertex(&store, 400_000, &vec![(fat, 10); 40_000]);
    assert_eq!(reason(&store, &root), "its vertices are too large together");
    assert!(unixfs::layout(&store, &root, u64::MAX).is_err());
}

#[test]
fn links_to_records_are_refused() {
    let (_dir, store) = store();
    let record = Block::dag_cbor(vec![0xa0]).unwrap();
    store.put(&record).unwrap();
    let root = vertex(&store, 1, &[(*record.cid(), 1)]);
    assert_eq!(reason(&store, &root), "a link to something else than a leaf or a vertex");
}

#[test]
fn bytes_that_are_no_vertex_are_refused() {
    for bytes in [&b""[..], b"\x0a", b"plain text, not protobuf", &[0xff; 100]] {
        assert!(unixfs::decode_inner(bytes).is_err());
    }
}

/// A link of one byte in which a field begins that goes on behind it, with a length that wraps around: thirteen bytes from
/// anybody. A reader that keeps positions instead of slices panics, or goes back and forth between them for ever.
#[test]
fn lengths_that_lead_out_of_their_message_are_refused() {
    for back in 0xf0..=0xff {
        let length = [back, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        for link in [&[0x12, 0x01][..], &[0x12, 0x02, 0x0a], &[0x12, 0x03, 0x0a, 0x24]] {
            assert!(unixfs::decode_inner(&[link, &[0x72], &length].concat()).is_err());
        }
    }
}

#[test]
fn every_change_of_a_vertex_is_read_or_refused() {
    let (_dir, store) = store();
    let leaves = [leaf(&store, 10), leaf(&store, 200), leaf(&store, 3)];
    let root = vertex(&store, 213, &[(leaves[0], 10), (leaves[1], 200), (leaves[2], 3)]);
    let good = store.get(&root).unwrap().unwrap().into_data();
    assert_eq!(unixfs::decode_inner(&good).unwrap(), (213, 3));
    for at in 0..good.len() {
        let _ = unixfs::decode_inner(&good[..at]);
        for byte in 0..=u8::MAX {
            let mut other = good.to_vec();
            other[at] = byte;
            let _ = unixfs::decode_inner(&other);
            other.insert(at, byte);
            let _ = unixfs::decode_inner(&other);
        }
    }
}

#[test]
fn a_missing_leaf_is_named() {
    let (_dir, store) = store();
    let leaf = ContentId::of_raw(b"elsewhere");
    let root = vertex(&store, 9, &[(leaf, 9)]);
    assert!(matches!(unixfs::complete(&store, &root), Err(UnixFsError::Missing { cid }) if cid == leaf));
    assert!(store.kept(&root).unwrap().is_none());
}

//! Files become blocks and come back, with the CIDs everybody else has.

use content::{ImportError, Importer, unixfs, unixfs::LEAF_BYTES};
use futures::TryStreamExt;

use crate::world::{Noise, noise, store};

#[test]
fn files_of_all_sizes_come_back() {
    let (_dir, store) = store();
    let leaf = LEAF_BYTES as u64;
    for bytes in [0, 1, leaf - 1, leaf, leaf + 1, 3 * leaf, 5 * leaf + 17] {
        let import = content::import(&store, &mut Noise::new(1, bytes)).unwrap();
        assert_eq!(import.bytes, bytes);
        let mut out = Vec::new();
        assert_eq!(unixfs::export(&store, &import.root, &mut out).unwrap(), bytes);
        assert!(out == noise(1, bytes), "{bytes} bytes came back changed");
        assert_eq!(store.kept(&import.root).unwrap(), Some(bytes));
        assert_eq!(unixfs::complete(&store, &import.root).unwrap(), bytes);
    }
}

/// Known CIDs of the profile unixfs-v1-2025, as made by Kubo and boxo (`boxo-peer cid`).
#[test]
fn the_cids_are_those_of_kubo() {
    let (_dir, store) = store();
    let leaf = LEAF_BYTES as u64;
    let zeros = |bytes: u64| std::io::Read::take(std::io::repeat(0), bytes);
    for (bytes, cid) in [
        (0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
        (1, "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu"),
        (leaf, "bafkreibq4fevl27rgurgnxbp7adh42aqiyd6ouflxhj3gzmcxcxzbh6lla"),
        (leaf + 1, "bafybeihd4yzq7n5umhjngdum4r6k2to7egxfkf2jz6thvwzf6djus22cmq"),
        (2000 * leaf, "bafybeifefaradobrlx6vsbdjyhh3mjvtcdybzrcy3bvtik4ytqrtnmig4e"),
    ] {
        let import = content::import(&store, &mut zeros(bytes)).unwrap();
        assert_eq!(import.root.to_string(), cid, "of {bytes} zeros");
    }
}

#[test]
fn pieces_of_any_size_give_the_same_root() {
    let (_dir, store) = store();
    let bytes = noise(2, 2 * LEAF_BYTES as u64 + 12345);
    let whole = content::import(&store, &mut &bytes[..]).unwrap();
    for piece in [1000, 65536, LEAF_BYTES - 1, LEAF_BYTES + 1] {
        let mut importer = Importer::new(&store);
        bytes.chunks(piece).try_for_each(|piece| importer.push(piece)).unwrap();
        assert_eq!(importer.finish().unwrap(), whole);
    }
}

#[test]
fn the_layout_finds_the_leaf_of_any_byte() {
    let (_dir, store) = store();
    let leaf = LEAF_BYTES as u64;
    let import = content::import(&store, &mut Noise::new(3, 4 * leaf + 5)).unwrap();
    let layout = content::layout(&store, &import.root, u64::MAX).unwrap();
    assert_eq!(layout.bytes, 4 * leaf + 5);
    assert_eq!(layout.leaves.len(), 5);
    assert_eq!(layout.leaf_at(0).unwrap().offset, 0);
    assert_eq!(layout.leaf_at(leaf).unwrap().offset, leaf);
    assert_eq!(layout.leaf_at(4 * leaf + 4).unwrap(), &layout.leaves[4]);
    assert_eq!(layout.leaves[4].bytes, 5);
    assert_eq!(layout.leaf_at(4 * leaf + 5), None);
    let third = store.get(&layout.leaves[3].cid).unwrap().unwrap();
    assert!(third.data()[..] == noise(3, 4 * leaf + 5)[3 << 20..4 << 20]);
}

#[test]
fn a_file_of_one_leaf_has_a_layout_of_one_leaf() {
    let (_dir, store) = store();
    let import = content::import(&store, &mut &b"small"[..]).unwrap();
    let layout = content::layout(&store, &import.root, u64::MAX).unwrap();
    assert_eq!((layout.bytes, layout.leaves.len()), (5, 1));
    assert_eq!(layout.leaves[0].cid, import.root);
}

#[tokio::test]
async fn an_export_can_be_a_stream() {
    let (_dir, store) = store();
    let import = content::import(&store, &mut Noise::new(4, 10 << 20)).unwrap();
    let pieces: Vec<_> = unixfs::export_stream(&store, &import.root).try_collect().await.unwrap();
    assert!(pieces.concat() == noise(4, 10 << 20));
}

#[test]
fn a_reader_that_fails_leaves_no_root() {
    struct Failing;
    impl std::io::Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
    let (_dir, store) = store();
    let mut reader = std::io::Read::chain(Noise::new(5, 3 << 20), Failing);
    assert!(matches!(content::import(&store, &mut reader), Err(ImportError::Read(_))));
    assert!(store.roots().unwrap().is_empty());
}

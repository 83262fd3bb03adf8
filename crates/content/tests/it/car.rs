//! Archives go out of one store and into another.

use bytes::Bytes;
use content::car::{self, Item};
use futures::{StreamExt, TryStreamExt, stream};

use crate::world::{BYTES_MAX, Noise, noise, store};

async fn archive(store: &content::Store, root: &model::ContentId) -> Vec<u8> {
    let pieces: Vec<Bytes> = car::export_stream(store, root).try_collect().await.unwrap();
    pieces.concat()
}

fn in_pieces(bytes: Vec<u8>, piece: usize) -> futures::stream::BoxStream<'static, std::io::Result<Bytes>> {
    let bytes = Bytes::from(bytes);
    let starts = (0..bytes.len()).step_by(piece);
    let pieces: Vec<_> = starts.map(|at| Ok(bytes.slice(at..bytes.len().min(at + piece)))).collect();
    stream::iter(pieces).boxed()
}

#[tokio::test]
async fn a_file_goes_from_store_to_store() {
    let ((_a, from), (_b, to)) = (store(), store());
    for (seed, bytes) in [(60, 0), (61, 5), (62, 3 << 20), (63, (5 << 20) + 1)] {
        let import = content::import(&from, &mut Noise::new(seed, bytes)).unwrap();
        let car = archive(&from, &import.root).await;
        for (piece, new) in [(777_777, true), (1 << 24, false)] {
            let received = car::receive(&to, in_pieces(car.clone(), piece), BYTES_MAX).await.unwrap();
            assert_eq!(received.roots, [(import.root, bytes)]);
            assert_eq!(received.bytes, car.len() as u64);
            assert_eq!(received.blocks, if new { import.blocks } else { 0 });
        }
        let mut out = Vec::new();
        content::unixfs::export(&to, &import.root, &mut out).unwrap();
        assert!(out == noise(seed, bytes));
        assert_eq!(to.kept(&import.root).unwrap(), Some(bytes));
    }
}

#[tokio::test]
async fn several_roots_go_into_one_archive() {
    let ((_a, from), (_b, to)) = (store(), store());
    let file = content::import(&from, &mut Noise::new(7, 2 << 20)).unwrap().root;
    let record = content::Block::dag_cbor(vec![0xa0]).unwrap();
    from.put(&record).unwrap();
    let roots = [file, *record.cid()];
    let pieces: Vec<Bytes> = car::export_many_stream(&from, &roots).try_collect().await.unwrap();
    let received = car::receive(&to, in_pieces(pieces.concat(), 1 << 20), BYTES_MAX).await.unwrap();
    assert_eq!(received.roots, [(file, 2 << 20), (*record.cid(), 1)]);
}

#[tokio::test]
async fn byte_by_byte_is_as_good_as_all_at_once() {
    let (_dir, store) = store();
    let import = content::import(&store, &mut &b"a small file"[..]).unwrap();
    let car = archive(&store, &import.root).await;
    let mut decoder = car::Decoder::new();
    let mut items = Vec::new();
    for byte in &car {
        decoder.push(&[*byte]);
        items.extend(decoder.next_item().unwrap());
    }
    decoder.finish().unwrap();
    assert_eq!(items, car::decode(&car).unwrap());
    assert_eq!(items[0], Item::Roots(vec![import.root]));
    assert_eq!(items.len(), 2);
}

/// The header every CAR of Kubo begins with: roots before version, as DAG-CBOR orders keys.
#[test]
fn the_header_is_the_one_of_the_specification() {
    let root = model::ContentId::of_raw(b"x");
    let header = car::encode_header(&[root]);
    let expected = [
        &[0x3a, 0xa2, 0x65][..],
        b"roots",
        &[0x81, 0xd8, 0x2a, 0x58, 0x25, 0x00],
        &root.0.to_bytes(),
        &[0x67],
        b"version",
        &[0x01],
    ]
    .concat();
    assert_eq!(header[..], expected);
}

#[tokio::test]
async fn an_archive_of_something_missing_ends_with_an_error() {
    let (_dir, store) = store();
    let import = content::import(&store, &mut Noise::new(8, 3 << 20)).unwrap();
    let leaf = content::layout(&store, &import.root, u64::MAX).unwrap().leaves[1].cid;
    store.delete(&leaf).unwrap();
    let items: Vec<_> = car::export_stream(&store, &import.root).collect().await;
    assert!(matches!(items.last(), Some(Err(content::UnixFsError::Missing { cid })) if *cid == leaf));
}

//! What the store promises.

use content::{Block, Store, StoreError};
use model::ContentId;

use crate::world::{BYTES_MAX, PAGE, store};

fn block(text: &str) -> Block {
    Block::raw(text.as_bytes().to_vec()).unwrap()
}

#[test]
fn what_is_put_can_be_read_sized_listed_and_deleted() {
    let (_dir, store) = store();
    let blocks: Vec<Block> = (0..40).map(|number| block(&format!("block {number}"))).collect();
    store.put_batch(&blocks).unwrap();
    for block in &blocks {
        assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(block));
        assert_eq!(store.size(block.cid()), Some(block.data().len() as u64));
    }
    assert_eq!(store.iter().unwrap().count(), 40);
    assert_eq!(store.used_bytes(), 40 * PAGE);
    assert!(store.delete(blocks[0].cid()).unwrap());
    assert!(!store.delete(blocks[0].cid()).unwrap());
    assert!(!store.has(blocks[0].cid()));
    assert_eq!(store.iter().unwrap().count(), 39);
}

#[test]
fn blocks_are_found_by_hash_whatever_the_codec() {
    let (_dir, store) = store();
    let raw = block("the same bytes");
    store.put(&raw).unwrap();
    let other = ContentId::of_dag_cbor(raw.data());
    assert_eq!(store.get(&other).unwrap().unwrap().data(), raw.data());
}

#[test]
fn everything_is_there_after_opening_again() {
    let (dir, store) = store();
    let block = block("kept");
    store.put(&block).unwrap();
    store.keep(block.cid(), 4).unwrap();
    drop(store);
    let store = Store::open(dir.path(), BYTES_MAX).unwrap();
    assert_eq!(store.get(block.cid()).unwrap(), Some(block.clone()));
    assert_eq!(store.kept(block.cid()).unwrap(), Some(4));
    assert_eq!(store.roots().unwrap(), [(*block.cid(), 4)]);
    assert_eq!(store.used_bytes(), PAGE);
    store.forget(block.cid()).unwrap();
    assert_eq!(store.kept(block.cid()).unwrap(), None);
    assert!(store.has(block.cid()));
}

#[test]
fn a_staged_block_can_be_read_before_it_is_durable() {
    let (_dir, store) = store();
    let block = block("staged");
    assert_eq!(store.stage(&block).unwrap(), PAGE);
    assert_eq!(store.get(block.cid()).unwrap(), Some(block.clone()));
    store.flush().unwrap();
    assert_eq!(store.iter().unwrap().count(), 1);
    assert_eq!(store.get(block.cid()).unwrap(), Some(block.clone()));
    assert_eq!(store.stage(&block).unwrap(), 0, "it is here already");
}

#[test]
fn a_store_is_open_in_one_process_at_a_time() {
    let (dir, _store) = store();
    assert!(matches!(Store::open(dir.path(), BYTES_MAX), Err(StoreError::InUse { .. })));
}

#[test]
fn many_threads_may_store_the_same_blocks() {
    let (_dir, store) = store();
    let blocks: Vec<Block> = (0..64).map(|number| block(&format!("shared {number}"))).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| blocks.chunks(7).for_each(|some| store.put_batch(some).unwrap()));
        }
    });
    assert_eq!(store.iter().unwrap().count(), 64);
    assert_eq!(store.used_bytes(), 64 * PAGE);
}

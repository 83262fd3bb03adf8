//! What may go when room is needed, what goes first, and what never goes.

use std::{
    fs::File,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use content::{Block, Store, unixfs};
use model::ContentId;
use tempfile::TempDir;

use crate::world::{BYTES_MAX, Node, Noise, PAGE, noise};

/// Room for so many small blocks that may go.
const ROOM: u64 = 32;

fn open(dir: &TempDir) -> Store {
    Store::open_with_cache(dir.path(), BYTES_MAX, ROOM * PAGE).unwrap()
}

fn block(name: &str, number: u64) -> Block {
    Block::raw(format!("{name} {number}").into_bytes()).unwrap()
}

/// Stores a small block that may go.
fn cache(store: &Store, name: &str, number: u64) -> ContentId {
    let block = block(name, number);
    store.stage(&block).unwrap();
    store.flush().unwrap();
    *block.cid()
}

/// Brings in as many new blocks as the cache has room for, twice.
fn flood(store: &Store, name: &str) {
    for number in 0..2 * ROOM {
        cache(store, name, number);
    }
}

/// Says of a cached block that it was used so long ago.
fn used(dir: &TempDir, cid: &ContentId, ago: Duration) {
    let name = cid.hash().to_string();
    let path: PathBuf = dir.path().join("cache").join(&name[name.len() - 3..name.len() - 1]).join(&name);
    File::open(path).unwrap().set_modified(SystemTime::now() - ago).unwrap();
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn the_cache_is_bounded_and_what_was_used_longest_ago_goes_first() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let blocks: Vec<ContentId> = (0..ROOM).map(|number| cache(&store, "old", number)).collect();
    for (ago, cid) in (1..).zip(blocks.iter().rev()) {
        used(&dir, cid, HOUR * ago);
    }
    // The one that came first is read: it was used now.
    assert!(store.get(&blocks[0]).unwrap().is_some());
    cache(&store, "new", 0);
    let last = cache(&store, "new", 1);
    assert!(store.cached_bytes() <= ROOM * PAGE);
    assert!(store.has(&blocks[0]) && store.has(&blocks[ROOM as usize - 1]) && store.has(&last));
    assert!(!store.has(&blocks[1]) && !store.has(&blocks[2]), "used longest ago");
    flood(&store, "more");
    assert!(store.cached_bytes() <= (ROOM + 1) * PAGE);
    assert_eq!(store.used_bytes(), store.cached_bytes());
}

#[test]
fn what_is_pinned_never_goes() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let file = content::import(&store, &mut Noise::new(70, 3 << 20)).unwrap();
    assert_eq!(unixfs::pin(&store, &file.root).unwrap(), 3 << 20);
    store.put(&block("own", 0)).unwrap();
    let pinned_bytes = store.used_bytes() - store.cached_bytes();
    assert!(pinned_bytes > 3 << 20);
    flood(&store, "more");
    let whole = |store: &Store| {
        assert!(store.is_pinned(&file.root).unwrap());
        assert_eq!(store.kept(&file.root).unwrap(), Some(3 << 20));
        let mut out = Vec::new();
        unixfs::export(store, &file.root, &mut out).unwrap();
        assert!(out == noise(70, 3 << 20));
        assert!(store.has(block("own", 0).cid()));
    };
    whole(&store);
    // The same file again, as somebody else's: it stays pinned.
    content::import(&store, &mut Noise::new(70, 3 << 20)).unwrap();
    drop(store);
    let store = open(&dir);
    flood(&store, "even more");
    whole(&store);
    assert_eq!(store.used_bytes() - store.cached_bytes(), pinned_bytes);
}

#[test]
fn what_is_not_here_as_a_whole_is_not_pinned() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let file = content::import(&store, &mut Noise::new(71, 3 << 20)).unwrap();
    let leaf = content::layout(&store, &file.root, u64::MAX).unwrap().leaves[1].cid;
    store.delete(&leaf).unwrap();
    assert!(matches!(unixfs::pin(&store, &file.root), Err(content::UnixFsError::Missing { cid }) if cid == leaf));
    assert!(!store.is_pinned(&file.root).unwrap());
}

#[test]
fn what_is_in_use_stays_until_it_is_not() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let hold = store.hold();
    let (held, also) = (cache(&store, "held", 0), cache(&store, "held", 1));
    hold.add(&held);
    let twice = store.hold();
    twice.add(&held);
    [&held, &also].into_iter().for_each(|cid| used(&dir, cid, HOUR));
    flood(&store, "more");
    assert!(store.has(&held) && !store.has(&also));
    drop(hold.clone());
    drop(hold);
    flood(&store, "even more");
    assert!(store.has(&held), "somebody else is at work on it");
    drop(twice);
    flood(&store, "at last");
    assert!(!store.has(&held));
}

#[test]
fn a_cache_full_of_what_is_in_use_takes_more() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let hold = store.hold();
    let blocks: Vec<Block> = (0..3 * ROOM).map(|number| block("held", number)).collect();
    blocks.iter().for_each(|block| hold.add(block.cid()));
    for block in &blocks {
        store.stage(block).unwrap();
    }
    store.flush().unwrap();
    assert!(blocks.iter().all(|block| store.has(block.cid())));
    drop(hold);
    flood(&store, "more");
    assert!(store.cached_bytes() <= (ROOM + 1) * PAGE);
}

#[test]
fn a_record_of_a_root_goes_before_its_blocks() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let file = content::import(&store, &mut Noise::new(72, 5000)).unwrap();
    assert_eq!(store.kept(&file.root).unwrap(), Some(5000));
    flood(&store, "more");
    assert!(!store.has(&file.root));
    assert_eq!(store.kept(&file.root).unwrap(), None);
    assert_eq!(store.roots().unwrap(), []);
}

#[test]
fn a_smaller_cache_is_made_smaller_when_the_store_is_opened() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), BYTES_MAX).unwrap();
    flood(&store, "much");
    assert_eq!(store.cached_bytes(), 2 * ROOM * PAGE);
    drop(store);
    let store = open(&dir);
    assert!(store.cached_bytes() <= ROOM * PAGE && store.cached_bytes() > 0);
    assert_eq!(store.iter().unwrap().count() as u64 * PAGE, store.cached_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_larger_than_the_cache_is_fetched_whole_while_it_is_held() {
    let bytes = 8 << 20;
    let from = Node::start().await;
    let import = content::import(&from.store, &mut Noise::new(73, bytes)).unwrap();
    let to = Node::start_on(|dir| Store::open_with_cache(dir, BYTES_MAX, 2 << 20).unwrap()).await;
    to.meet(&from).await;
    for _ in 0..2 {
        let hold = to.store.hold();
        assert_eq!(to.peer.fetch_held(&import.root, BYTES_MAX, &hold).await.unwrap(), bytes);
        flood(&to.store, "meanwhile");
        let mut out = Vec::new();
        unixfs::export(&to.store, &import.root, &mut out).unwrap();
        assert!(out == noise(73, bytes));
        drop(hold);
        cache(&to.store, "afterwards", 0);
        cache(&to.store, "afterwards", 1);
        assert!(to.store.cached_bytes() <= (2 << 20) + PAGE);
    }
}

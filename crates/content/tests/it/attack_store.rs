//! A disk that is full, damaged, or was interrupted; names that try to leave the folder.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use content::{Block, Store, StoreError, unixfs};
use model::{ContentId, Digest};

use crate::world::{BYTES_MAX, Noise, PAGE, noise, store};

#[test]
fn a_full_store_refuses_and_stays_consistent() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), 3 * PAGE).unwrap();
    store.put(&Block::raw(vec![1; 5000]).unwrap()).unwrap();
    let refused = store.put(&Block::raw(vec![2; 5000]).unwrap());
    assert!(matches!(refused, Err(StoreError::Full { used_bytes: 8192, bytes_max: 12288 })));
    assert_eq!(store.used_bytes(), 2 * PAGE);
    store.put(&Block::raw(vec![3; 40]).unwrap()).unwrap();
}

/// A file of one byte takes a page of the disk, and a name in memory until it is synced.
#[test]
fn tiny_blocks_cannot_fill_more_of_the_disk_than_the_store_may() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), 32 * PAGE).unwrap();
    let tiny = |number: u32| Block::raw(number.to_be_bytes().to_vec()).unwrap();
    let stored = (0..1000).take_while(|number| store.stage(&tiny(*number)).is_ok()).count();
    assert_eq!(stored, 30, "the store holds 32 pages, two of them for the node's own blocks");
    assert!(matches!(store.stage(&tiny(stored as u32)), Err(StoreError::Full { .. })));
    store.flush().unwrap();
    drop(store);
    assert_eq!(Store::open(dir.path(), 32 * PAGE).unwrap().used_bytes(), 30 * PAGE);
}

#[test]
fn a_block_changed_on_disk_is_never_handed_out_and_can_be_fetched_again() {
    let (dir, store) = store();
    let import = content::import(&store, &mut Noise::new(1, 3 << 20)).unwrap();
    let victim = content::layout(&store, &import.root, u64::MAX).unwrap().leaves[1].cid;
    let path = find(dir.path(), &victim.hash());
    let mut bytes = fs::read(&path).unwrap();
    let good = bytes.clone();
    bytes[1000] ^= 1;
    fs::write(&path, bytes).unwrap();

    assert_eq!(store.kept(&import.root).unwrap(), Some(3 << 20));
    assert!(matches!(store.get(&victim), Err(StoreError::Damaged { cid }) if cid == victim));
    assert!(!store.has(&victim), "the damaged file is gone");
    assert_eq!(store.kept(&import.root).unwrap(), None, "the root is no longer claimed to be whole");
    assert!(unixfs::complete(&store, &import.root).is_err());

    store.put(&Block::check(victim, good.into()).unwrap()).unwrap();
    assert_eq!(unixfs::complete(&store, &import.root).unwrap(), 3 << 20);
    assert_eq!(store.kept(&import.root).unwrap(), Some(3 << 20));
}

#[test]
fn a_file_that_grew_beyond_any_block_is_refused() {
    let (dir, store) = store();
    let block = Block::raw(vec![7; 10]).unwrap();
    store.put(&block).unwrap();
    fs::File::options().write(true).open(find(dir.path(), &block.cid().hash())).unwrap().set_len(1 << 30).unwrap();
    assert!(matches!(store.get(block.cid()), Err(StoreError::Damaged { .. })));
    assert_eq!(store.used_bytes(), 0, "what is used must not wrap around");
    store.put(&block).unwrap();
}

#[test]
fn torn_and_foreign_files_are_passed_over() {
    let (dir, store) = store();
    let block = Block::raw(&b"good"[..]).unwrap();
    store.put(&block).unwrap();
    drop(store);
    fs::write(dir.path().join("staged/0"), b"torn").unwrap();
    let folder = dir.path().join("blocks/aa");
    fs::create_dir_all(&folder).unwrap();
    for name in ["notes.txt", "..data", &"AA".repeat(32), &"aa".repeat(31)] {
        fs::write(folder.join(name), b"foreign").unwrap();
    }
    fs::write(dir.path().join("roots/not a cid"), b"5 kept\n").unwrap();
    fs::write(dir.path().join("roots").join(block.cid().to_string()), b"not a number").unwrap();

    let store = Store::open(dir.path(), BYTES_MAX).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("staged")).unwrap().count(), 0);
    let digests: Vec<Digest> = store.iter().unwrap().map(Result::unwrap).collect();
    assert_eq!(digests, [block.cid().hash()]);
    assert!(store.roots().unwrap().is_empty());
    assert_eq!(store.kept(block.cid()).unwrap(), None);
    assert_eq!(store.used_bytes(), PAGE);
}

#[test]
fn nothing_a_peer_says_becomes_a_path() {
    let (dir, store) = store();
    for text in ["../../etc/passwd", "bafkrei/../../x", "..", "/", "bafkrei\0"] {
        assert!(text.parse::<ContentId>().is_err());
    }
    // a block whose bytes are a path is stored like any other
    let block = Block::raw(&b"../../../tmp/escape"[..]).unwrap();
    store.put(&block).unwrap();
    let path = find(dir.path(), &block.cid().hash());
    assert!(path.starts_with(dir.path().join("blocks")));
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

/// Kills a process in the middle of an import and opens its store: no root, no half block, and importing again works.
#[test]
fn a_kill_in_the_middle_of_an_import_leaves_no_half_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "attack_store::import_until_killed", "--nocapture"])
        .env("SAMOVAR_TEST_STORE", dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let importing = lines.map_while(Result::ok).any(|line| line.contains("importing"));
    assert!(importing, "the child never got to importing");
    child.kill().unwrap();
    child.wait().unwrap();

    let store = Store::open(dir.path(), BYTES_MAX).unwrap();
    assert!(store.roots().unwrap().is_empty());
    for digest in store.iter().unwrap() {
        let cid = raw(&digest.unwrap());
        assert!(store.get(&cid).unwrap().is_some(), "every block in place has its hash");
    }
    let bytes = noise(9, 5 << 20);
    let import = content::import(&store, &mut &bytes[..]).unwrap();
    let mut out = Vec::new();
    unixfs::export(&store, &import.root, &mut out).unwrap();
    assert_eq!(out, bytes);
}

/// The child of the test above; does nothing when run by itself.
#[test]
fn import_until_killed() {
    let Some(dir) = std::env::var_os("SAMOVAR_TEST_STORE") else { return };
    let store = Store::open(dir.as_ref(), BYTES_MAX).unwrap();
    let mut importer = content::Importer::new(&store);
    for step in 0.. {
        importer.push(&noise((step % 251) as u8, 3 << 20)).unwrap();
        if step == 30 {
            println!("importing");
        }
        assert!(step < 1000, "nobody killed this process");
    }
}

fn raw(digest: &Digest) -> ContentId {
    let multihash = [&[0x01, 0x55, 0x12, 0x20][..], &digest.0].concat();
    ContentId(cid::Cid::try_from(multihash).unwrap())
}

fn find(dir: &std::path::Path, digest: &Digest) -> std::path::PathBuf {
    let name = digest.to_string();
    let folders = ["cache", "blocks"].into_iter().flat_map(|sub| fs::read_dir(dir.join(sub)).unwrap());
    folders.map(|folder| folder.unwrap().path().join(&name)).find(|path| path.exists()).unwrap()
}

#[test]
fn bulk_leaves_room_for_the_few_blocks_a_node_must_write() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = Store::open(dir.path(), 16 * PAGE).unwrap();
    store.stage(&Block::raw(vec![1; 60_000]).unwrap()).unwrap();
    let more = Block::raw(vec![2; 50]).unwrap();
    assert!(matches!(store.stage(&more), Err(StoreError::Full { bytes_max: 61_440, .. })));
    store.put(&more).unwrap();
}

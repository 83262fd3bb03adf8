//! Files as blocks and back (UnixFS), with the CIDs of `ipfs add` under the profile `unixfs-v1-2025` (IPIP-499):
//! CIDv1, sha2-256, raw leaves of 1 MiB, 1,024 links in an inner vertex, balanced.
//!
//! Reading accepts any width and leaf size, so that files of other implementations can be fetched, but only raw leaves
//! and inner vertices without metadata; directories are not files.

use std::{
    collections::{HashMap, HashSet},
    io::{self, Read, Write},
};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use model::{ContentId, Digest};
use multihash_codetable::Code;
use rust_unixfs::file::adder::{BalancedCollector, Chunker, FileAdder};

use crate::{
    Block, BlockError, Hold, Store, StoreError,
    block::{DAG_PB, RAW, content_id},
    protobuf::{Value, Wrong, for_each_field, take_varint},
    store::FLUSH_BYTES,
};

/// Bytes of a leaf under the profile.
pub const LEAF_BYTES: usize = 1 << 20;
/// Links of an inner vertex under the profile.
pub const WIDTH: usize = 1024;
/// Most inner vertices between a root and a leaf. Eight of the profile's width hold more than any disk.
const DEPTH_MAX: usize = 8;
/// Most links visited under a root: 1 TiB under the profile. A few blocks that share their vertices can stand for any
/// number of leaves, so this, not the size of what is stored, bounds the work.
const LEAVES_MAX: u64 = 1 << 20;
/// Most bytes of the inner vertices visited under a root. A link takes about fifty, so [`LEAVES_MAX`] of them fit twice over;
/// without it a few large vertices that are linked again and again would be read and hashed for hours.
const INNER_BYTES_MAX: u64 = 128 << 20;
/// Leaves whose presence is remembered while a root is checked.
const SEEN_MAX: usize = 4096;
/// Leaves read ahead of whoever consumes an export.
const EXPORT_AHEAD: usize = 4;

/// Why bytes could not be made a file of blocks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The bytes could not be read.
    #[error("could not read the file to import")]
    Read(#[source] io::Error),
    /// The blocks could not be stored.
    #[error("could not store the blocks of the file")]
    Store(#[source] StoreError),
    /// The importer made something unexpected: a fault of this program.
    #[error("the importer made a block that is not one of ours")]
    Foreign(#[source] BlockError),
}

/// Why blocks are not a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnixFsError {
    /// A block under the root is not in the store.
    #[error("block {cid} is not here")]
    Missing {
        /// Which.
        cid: ContentId,
    },
    /// Whoever made the root made something else than a file this crate reads.
    #[error("{cid} is not a file of raw leaves: {reason}")]
    NotAFile {
        /// The offending block.
        cid: ContentId,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The store failed.
    #[error("could not read the blocks of the file")]
    Store(#[source] StoreError),
    /// The bytes could not be written where the caller wants them.
    #[error("could not write the exported file")]
    Write(#[source] io::Error),
}

/// What an import made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Import {
    /// Root of the file.
    pub root: ContentId,
    /// Bytes of the file.
    pub bytes: u64,
    /// Blocks made, leaves and inner vertices; equal ones count each time.
    pub blocks: u64,
}

/// One leaf of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its block.
    pub cid: ContentId,
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// The leaves of a file in order, for random access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Root of the file.
    pub root: ContentId,
    /// Bytes of the file.
    pub bytes: u64,
    /// Ascending, without gaps.
    pub leaves: Vec<Leaf>,
}

impl Layout {
    /// The leaf that holds the byte at `offset`, or `None` beyond the end.
    pub fn leaf_at(&self, offset: u64) -> Option<&Leaf> {
        let index = self.leaves.partition_point(|leaf| leaf.offset + leaf.bytes <= offset);
        self.leaves.get(index)
    }
}

/// Stores the bytes of `reader` as a file and records it as kept. Memory does not grow with its size.
///
/// # Errors
/// [`ImportError`]. Blocks stored before an error stay, without a root.
pub fn import(store: &Store, reader: &mut dyn Read) -> Result<Import, ImportError> {
    import_with(Importer::new(store), reader)
}

/// The same for as long as `hold` lives: nothing is recorded or synced, so a machine that stops may have lost it.
///
/// # Errors
/// As [`import`].
pub fn import_held(store: &Store, reader: &mut dyn Read, hold: &Hold) -> Result<Import, ImportError> {
    import_with(Importer { hold: hold.clone(), recorded: false, ..Importer::new(store) }, reader)
}

fn import_with(mut importer: Importer, reader: &mut dyn Read) -> Result<Import, ImportError> {
    let mut buffer = vec![0; LEAF_BYTES];
    loop {
        let filled = read_full(reader, &mut buffer).map_err(ImportError::Read)?;
        importer.push(&buffer[..filled])?;
        if filled < buffer.len() {
            return importer.finish();
        }
    }
}

/// Makes a file of bytes that arrive piece by piece. Blocks: use it from a blocking thread.
pub struct Importer {
    store: Store,
    hold: Hold,
    recorded: bool,
    adder: FileAdder,
    bytes: u64,
    blocks: u64,
    last: Option<ContentId>,
}

impl Importer {
    /// An importer into `store`.
    pub fn new(store: &Store) -> Self {
        let adder = FileAdder::builder()
            .with_chunker(Chunker::Size(LEAF_BYTES))
            .with_collector(BalancedCollector::with_branching_factor(WIDTH))
            .with_raw_leaves(true)
            .with_hasher(Code::Sha2_256)
            .build();
        Self { store: store.clone(), hold: store.hold(), recorded: true, adder, bytes: 0, blocks: 0, last: None }
    }

    /// Adds the next bytes of the file. Pieces of whole leaves ([`LEAF_BYTES`]) are copied least.
    ///
    /// # Errors
    /// [`ImportError::Store`].
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), ImportError> {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let (blocks, consumed) = self.adder.push(bytes);
            let blocks: Vec<_> = blocks.collect();
            self.stage(blocks)?;
            bytes = &bytes[consumed..];
        }
        Ok(())
    }

    /// Makes the inner vertices, syncs once and records the root as kept.
    ///
    /// # Errors
    /// [`ImportError::Store`].
    pub fn finish(mut self) -> Result<Import, ImportError> {
        let adder = std::mem::take(&mut self.adder);
        self.stage(adder.finish().collect())?;
        // the last block made is the root; an empty file is one empty leaf
        let root = match self.last {
            Some(root) => root,
            None => self.stage_empty()?,
        };
        if self.recorded {
            self.store.keep(&root, self.bytes).map_err(ImportError::Store)?;
        }
        Ok(Import { root, bytes: self.bytes, blocks: self.blocks })
    }

    fn stage(&mut self, blocks: Vec<(cid::Cid, Vec<u8>)>) -> Result<(), ImportError> {
        for (cid, data) in blocks {
            let cid = content_id(cid).map_err(ImportError::Foreign)?;
            self.hold.add(&cid);
            let staged =
                self.store.stage(&Block::already_hashed(cid, Bytes::from(data))).map_err(ImportError::Store)?;
            if staged >= FLUSH_BYTES {
                self.store.flush().map_err(ImportError::Store)?;
            }
            self.blocks += 1;
            self.last = Some(cid);
        }
        Ok(())
    }

    fn stage_empty(&mut self) -> Result<ContentId, ImportError> {
        let cid = ContentId::of_raw(&[]);
        self.stage(vec![(cid.0, Vec::new())])?;
        Ok(cid)
    }
}

impl Write for Importer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The leaves of the file under `root`, in order, of which there may be `leaves_max`. Inner vertices must be here, leaves need
/// not. A leaf takes about a hundred bytes of memory, and a few blocks of vertices can stand for a million of them: say how many
/// there should be.
///
/// # Errors
/// [`UnixFsError`].
pub fn layout(store: &Store, root: &ContentId, leaves_max: u64) -> Result<Layout, UnixFsError> {
    let mut leaves = Vec::new();
    let bytes = for_each_vertex(store, root, &mut |visit, _| {
        if let Visit::Leaf { cid, offset, bytes } = *visit {
            if leaves.len() as u64 >= leaves_max {
                return Err(not_a_file(root, "more leaves than it should have"));
            }
            let bytes = match bytes {
                Some(bytes) => bytes,
                None => store.size(&cid).ok_or(UnixFsError::Missing { cid })?,
            };
            leaves.push(Leaf { cid, offset, bytes });
        }
        Ok(())
    })?;
    let bytes = bytes.unwrap_or_else(|| leaves.iter().map(|leaf| leaf.bytes).sum());
    Ok(Layout { root: *root, bytes, leaves })
}

/// Looks whether every block under `root` is in the store, and records the root as kept if so. A root that is not a
/// UnixFS vertex is one block. Returns the bytes of the file. Blocks are not read again except inner vertices.
///
/// # Errors
/// [`UnixFsError::Missing`] names the first block that is not here; the enum lists the rest.
pub fn complete(store: &Store, root: &ContentId) -> Result<u64, UnixFsError> {
    let evictions = store.evictions();
    let bytes = look_through(store, root)?;
    store.keep_unless_evicted(root, bytes, evictions).map_err(UnixFsError::Store)?;
    Ok(bytes)
}

/// Looks whether every block under `root` is in the store. Returns the bytes of the file.
pub(crate) fn look_through(store: &Store, root: &ContentId) -> Result<u64, UnixFsError> {
    let mut single = 0;
    // Whoever makes a root of few blocks that stand for a million leaves must not make us ask the disk a million times.
    let mut seen: HashMap<ContentId, u64> = HashMap::new();
    let bytes = for_each_vertex(store, root, &mut |visit, _| {
        if let Visit::Leaf { cid, bytes, .. } = *visit {
            let known = seen.get(&cid).copied();
            let here = known.or_else(|| store.size(&cid)).ok_or(UnixFsError::Missing { cid })?;
            if known.is_none() && seen.len() < SEEN_MAX {
                seen.insert(cid, here);
            }
            check_leaf_size(&cid, bytes, here)?;
            single = here;
        }
        Ok(())
    })?;
    Ok(bytes.unwrap_or(single))
}

/// Makes every block under `root` stay, whatever room is needed. They must all be here. Returns the bytes of the file.
///
/// # Errors
/// As [`complete`].
pub fn pin(store: &Store, root: &ContentId) -> Result<u64, UnixFsError> {
    let hold = store.hold();
    let mut blocks = HashSet::new();
    for_each_vertex(store, root, &mut |visit, _| {
        let (Visit::Leaf { cid, .. } | Visit::Inner { cid, .. }) = visit;
        hold.add(cid);
        blocks.insert(cid.hash());
        Ok(())
    })?;
    // What is held now and is here now stays here until it has moved.
    let bytes = look_through(store, root)?;
    store.keep_pinned(root, bytes, blocks).map_err(UnixFsError::Store)?;
    Ok(bytes)
}

/// Writes the file under `root` to `out`, in order. Returns its size.
///
/// # Errors
/// [`UnixFsError`]. What was written before an error is a prefix of the file.
pub fn export(store: &Store, root: &ContentId, out: &mut dyn Write) -> Result<u64, UnixFsError> {
    let mut written = 0;
    each_leaf(store, root, &mut |data| {
        written += data.len() as u64;
        out.write_all(&data).map_err(UnixFsError::Write)
    })?;
    Ok(written)
}

/// The bytes of the file under `root`, leaf by leaf, read a few leaves ahead on a blocking thread. Ends after the first
/// error.
pub fn export_stream(store: &Store, root: &ContentId) -> BoxStream<'static, Result<Bytes, UnixFsError>> {
    let (store, root) = (store.clone(), *root);
    blocking_stream(EXPORT_AHEAD, move |emit| {
        let stopped = || UnixFsError::Write(io::ErrorKind::BrokenPipe.into());
        each_leaf(&store, &root, &mut |data| if emit(data) { Ok(()) } else { Err(stopped()) })
    })
}

fn each_leaf(
    store: &Store,
    root: &ContentId,
    take: &mut dyn FnMut(Bytes) -> Result<(), UnixFsError>,
) -> Result<(), UnixFsError> {
    for_each_vertex(store, root, &mut |visit, _| {
        let Visit::Leaf { cid, bytes, .. } = *visit else { return Ok(()) };
        let block = read(store, &cid)?;
        check_leaf_size(&cid, bytes, block.data().len() as u64)?;
        take(block.into_data())
    })
    .map(|_| ())
}

/// Runs `produce` on a blocking thread; what it emits comes out of the stream, at most `ahead` items before they are
/// taken. `emit` says whether anybody still listens.
pub(crate) fn blocking_stream<E: Send + 'static>(
    ahead: usize,
    produce: impl FnOnce(&mut dyn FnMut(Bytes) -> bool) -> Result<(), E> + Send + 'static,
) -> BoxStream<'static, Result<Bytes, E>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(ahead);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = produce(&mut |data| sender.blocking_send(Ok(data)).is_ok()) {
            let _ = sender.blocking_send(Err(error)); // nobody listens any more
        }
    });
    futures::stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|item| (item, receiver)) })
        .boxed()
}

/// Visits the DAG under `root` depth first, in order. Returns the size an inner root declares; `None` for a leaf.
pub(crate) fn for_each_vertex(
    store: &Store,
    root: &ContentId,
    each: &mut dyn FnMut(&Visit, Option<&Block>) -> Result<(), UnixFsError>,
) -> Result<Option<u64>, UnixFsError> {
    let mut walk = Walk::new(*root);
    while let Some(visit) = walk.next() {
        match visit {
            Visit::Leaf { .. } => each(&visit, None)?,
            Visit::Inner { cid, .. } => {
                let block = read(store, &cid)?;
                each(&visit, Some(&block))?;
                walk.expand(&visit, &block)?;
            }
        }
    }
    Ok(walk.bytes())
}

fn read(store: &Store, cid: &ContentId) -> Result<Block, UnixFsError> {
    store.get(cid).map_err(UnixFsError::Store)?.ok_or(UnixFsError::Missing { cid: *cid })
}

/// A leaf must have the size its parent declares, or offsets would lie.
pub(crate) fn check_leaf_size(cid: &ContentId, declared: Option<u64>, bytes: u64) -> Result<(), UnixFsError> {
    match declared {
        Some(declared) if declared != bytes => Err(not_a_file(cid, "a leaf has another size than its parent declares")),
        _ => Ok(()),
    }
}

/// One step of a [`Walk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// A vertex with links: give its block to [`Walk::expand`] before the next step.
    Inner {
        cid: ContentId,
        /// What its parent says is under it; `None` for the root.
        bytes: Option<u64>,
        depth: usize,
    },
    /// A leaf, or a root without links.
    Leaf { cid: ContentId, offset: u64, bytes: Option<u64> },
}

/// Goes through the DAG of a file depth first and in order, without I/O. It holds the links of one inner vertex per
/// level and nothing else. Sizes must add up at every level, so the size of the root bounds the walk.
pub(crate) struct Walk {
    /// For each level the links not yet visited, last first.
    levels: Vec<Vec<Link>>,
    root: Option<ContentId>,
    bytes: Option<u64>,
    offset: u64,
    leaves: u64,
    inner_bytes: u64,
}

#[derive(Clone, Copy)]
struct Link {
    codec: u64,
    digest: Digest,
    bytes: u64,
}

impl Walk {
    pub(crate) fn new(root: ContentId) -> Self {
        Self { levels: Vec::new(), root: Some(root), bytes: None, offset: 0, leaves: 0, inner_bytes: 0 }
    }

    /// What an inner root declares; known once it is expanded.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    pub(crate) fn next(&mut self) -> Option<Visit> {
        if let Some(cid) = self.root.take() {
            return Some(self.visit(cid, None));
        }
        loop {
            let level = self.levels.last_mut()?;
            match level.pop() {
                Some(link) => return Some(self.visit(link.cid(), Some(link.bytes))),
                None => drop(self.levels.pop()),
            }
        }
    }

    fn visit(&mut self, cid: ContentId, bytes: Option<u64>) -> Visit {
        if cid.0.codec() == DAG_PB {
            return Visit::Inner { cid, bytes, depth: self.levels.len() };
        }
        let offset = self.offset;
        self.offset += bytes.unwrap_or(0);
        Visit::Leaf { cid, offset, bytes }
    }

    /// Takes the links of an inner vertex.
    ///
    /// # Errors
    /// [`UnixFsError::NotAFile`]: whoever made the file is at fault.
    pub(crate) fn expand(&mut self, visit: &Visit, block: &Block) -> Result<(), UnixFsError> {
        let Visit::Inner { cid, bytes, depth } = *visit else { return Ok(()) };
        let (declared, mut links) = parse_inner(&cid, block.data())?;
        if bytes.is_some_and(|bytes| bytes != declared) {
            return Err(not_a_file(&cid, "a vertex has another size than its parent declares"));
        }
        if depth >= DEPTH_MAX {
            return Err(not_a_file(&cid, "too many levels"));
        }
        self.inner_bytes += block.data().len() as u64;
        if self.inner_bytes > INNER_BYTES_MAX {
            return Err(not_a_file(&cid, "its vertices are too large together"));
        }
        self.leaves += links.len() as u64;
        if self.leaves > LEAVES_MAX {
            return Err(not_a_file(&cid, "too many leaves"));
        }
        if bytes.is_none() {
            self.bytes = Some(declared);
        }
        links.reverse();
        self.levels.push(links);
        Ok(())
    }
}

impl Link {
    fn cid(&self) -> ContentId {
        let hash = cid::multihash::Multihash::wrap(crate::block::SHA2_256, &self.digest.0)
            .expect("32 bytes fit the 64 of a multihash");
        ContentId(cid::Cid::new_v1(self.codec, hash))
    }
}

/// The size and the links of an inner vertex of a file.
fn parse_inner(cid: &ContentId, data: &Bytes) -> Result<(u64, Vec<Link>), UnixFsError> {
    let vertex = read_vertex(data).ok().filter(|vertex| vertex.file.is_plain() && !vertex.links.is_empty());
    let sized = vertex.filter(|vertex| vertex.links.len() == vertex.file.sizes.len());
    let Vertex { links: targets, file } =
        sized.ok_or_else(|| not_a_file(cid, "neither a raw leaf nor a vertex with links and without metadata"))?;
    let mut total: u64 = 0;
    let mut links = Vec::with_capacity(targets.len());
    for (target, bytes) in targets.into_iter().zip(file.sizes) {
        let target = cid::Cid::try_from(&target[..]).ok().and_then(|cid| content_id(cid).ok());
        let target = target.ok_or_else(|| not_a_file(cid, "a link to a foreign kind of CID"))?;
        let codec = target.0.codec();
        if ![RAW, DAG_PB].contains(&codec) {
            return Err(not_a_file(cid, "a link to something else than a leaf or a vertex"));
        }
        if bytes == 0 || (codec == RAW && bytes > Block::BYTES_MAX as u64) {
            return Err(not_a_file(cid, "a link with an impossible size"));
        }
        total = total.checked_add(bytes).ok_or_else(|| not_a_file(cid, "sizes overflow"))?;
        links.push(Link { codec, digest: target.hash(), bytes });
    }
    if total == file.bytes { Ok((total, links)) } else { Err(not_a_file(cid, "sizes do not add up")) }
}

/// A dag-pb vertex (IPLD specification) around UnixFS.
#[derive(Default)]
struct Vertex {
    /// Where its links lead: binary CIDs.
    links: Vec<Bytes>,
    file: FileNode,
}

/// The UnixFS message inside.
#[derive(Default)]
struct FileNode {
    kind: u64,
    bytes: u64,
    /// The size of what is under each link.
    sizes: Vec<u64>,
    has_metadata: bool,
}

impl FileNode {
    fn is_plain(&self) -> bool {
        const FILE: u64 = 2;
        self.kind == FILE && !self.has_metadata
    }
}

/// Every link takes more bytes than it costs here, and every size at least one, so the block bounds both lists.
fn read_vertex(data: &Bytes) -> Result<Vertex, Wrong> {
    let mut vertex = Vertex::default();
    for_each_field::<Wrong>(data, &mut |field| {
        match field {
            (2, Value::Bytes(link)) => vertex.links.push(read_link(&link)?),
            (1, Value::Bytes(file)) => vertex.file = read_file_node(&file)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(vertex)
}

fn read_link(link: &Bytes) -> Result<Bytes, Wrong> {
    let mut target = Bytes::new();
    for_each_field::<Wrong>(link, &mut |field| {
        if let (1, Value::Bytes(cid)) = field {
            target = cid;
        }
        Ok(())
    })?;
    Ok(target)
}

fn read_file_node(bytes: &Bytes) -> Result<FileNode, Wrong> {
    let mut file = FileNode::default();
    for_each_field::<Wrong>(bytes, &mut |field| {
        match field {
            (1, Value::Integer(kind)) => file.kind = kind,
            (3, Value::Integer(bytes)) => file.bytes = bytes,
            (4, Value::Integer(bytes)) => file.sizes.push(bytes),
            (4, Value::Bytes(packed)) => {
                let mut rest = &packed[..];
                while !rest.is_empty() {
                    file.sizes.push(take_varint(&mut rest)?);
                }
            }
            (7 | 8, _) => file.has_metadata = true, // mode, mtime
            _ => {}
        }
        Ok(())
    })?;
    Ok(file)
}

/// Reads an inner vertex; for the fuzzer and for tests. Returns the file size it declares and its number of links.
///
/// # Errors
/// [`UnixFsError::NotAFile`].
pub fn decode_inner(data: &[u8]) -> Result<(u64, usize), UnixFsError> {
    let cid = ContentId::of_raw(data);
    parse_inner(&cid, &Bytes::copy_from_slice(data)).map(|(bytes, links)| (bytes, links.len()))
}

fn not_a_file(cid: &ContentId, reason: &'static str) -> UnixFsError {
    UnixFsError::NotAFile { cid: *cid, reason }
}

fn read_full(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(filled)
}

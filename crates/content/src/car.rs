//! CAR v1 archives: a header naming roots, then blocks (IPLD CARv1 specification).
//!
//! Reading is a push decoder without I/O: every length is bounded before anything is allocated for it, and every block
//! is hashed before it is handed out. Writing walks a file depth first and in order, repeating blocks that occur
//! repeatedly, so that both sides can stream.

use bytes::{Buf, Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt};
use model::ContentId;
use serde::{Deserialize, Serialize};

use crate::{
    Block, BlockError, Hold, Store, StoreError, UnixFsError,
    block::{CID_BYTES_MAX, content_id},
    store::FLUSH_BYTES,
    unixfs::{self, Visit},
};

/// Most bytes of a header.
pub const HEADER_BYTES_MAX: usize = 4 << 10;
/// Most roots a header may name.
pub const ROOTS_MAX: usize = 16;
/// Media type of a CAR over HTTP.
pub const MEDIA_TYPE: &str = "application/vnd.ipld.car";
/// Longest length prefix: a block and its CID need four bytes.
const VARINT_BYTES_MAX: usize = 5;
/// Sections read ahead of whoever consumes an export.
const EXPORT_AHEAD: usize = 4;

/// Why bytes are not an acceptable CAR, or could not be stored or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CarError {
    /// The bytes do not begin like a CAR.
    #[error("not a CAR of version 1: {reason}")]
    Header {
        /// What is wrong.
        reason: &'static str,
    },
    /// A section is malformed.
    #[error("a section of the CAR is malformed: {reason}")]
    Section {
        /// What is wrong.
        reason: &'static str,
    },
    /// A block is not what its CID names.
    #[error("the CAR holds a bad block")]
    Block(#[source] BlockError),
    /// The bytes end in the middle of the header or of a section.
    #[error("the CAR ends too early")]
    Truncated,
    /// Larger than the caller allows.
    #[error("the CAR has more than the {bytes_max} bytes that are allowed")]
    TooLarge {
        /// What is allowed.
        bytes_max: u64,
    },
    /// The CAR could not be received.
    #[error("the CAR could not be received")]
    Receive(#[source] std::io::Error),
    /// The store failed.
    #[error("the blocks of the CAR could not be stored")]
    Store(#[source] StoreError),
    /// A root named in the header is not whole, or not a file.
    #[error("the file under a root of the CAR is not whole")]
    Root(#[source] UnixFsError),
}

/// One thing a CAR holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The roots; always first, exactly once.
    Roots(Vec<ContentId>),
    /// A block; its hash has been checked.
    Block(Block),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    roots: Vec<cid::Cid>,
    version: u64,
}

/// Decodes a CAR from pieces of any size. Holds at most one section and the last piece pushed.
#[derive(Default)]
pub struct Decoder {
    buffer: BytesMut,
    past_header: bool,
}

impl Decoder {
    /// A decoder at the beginning of a CAR.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next bytes. Take every item with [`Decoder::next_item`] before adding more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next item, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`CarError`]: whoever made the CAR is at fault. Do not go on after an error.
    pub fn next_item(&mut self) -> Result<Option<Item>, CarError> {
        let section_bytes_max = if self.past_header { CID_BYTES_MAX + Block::BYTES_MAX } else { HEADER_BYTES_MAX };
        let Some(section) = self.take_section(section_bytes_max)? else { return Ok(None) };
        if self.past_header {
            return decode_block(section).map(|block| Some(Item::Block(block)));
        }
        self.past_header = true;
        decode_header(&section).map(|roots| Some(Item::Roots(roots)))
    }

    /// Whether the bytes so far end with the end of a section. Call it at the end.
    ///
    /// # Errors
    /// [`CarError::Truncated`].
    pub fn finish(&self) -> Result<(), CarError> {
        if self.past_header && self.buffer.is_empty() { Ok(()) } else { Err(CarError::Truncated) }
    }

    fn take_section(&mut self, bytes_max: usize) -> Result<Option<Bytes>, CarError> {
        let Some((len, prefix)) = self.section_len()? else { return Ok(None) };
        if len > bytes_max {
            return Err(self.malformed("longer than allowed"));
        }
        if len == 0 {
            return Err(self.malformed("empty"));
        }
        if self.buffer.len() < prefix + len {
            self.buffer.reserve(prefix + len - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(prefix);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }

    /// The length of the next section and the size of its prefix.
    fn section_len(&self) -> Result<Option<(usize, usize)>, CarError> {
        use unsigned_varint::decode::{Error, u64};
        let head = &self.buffer[..self.buffer.len().min(VARINT_BYTES_MAX)];
        match u64(head) {
            Ok((len, rest)) => {
                let len = usize::try_from(len).map_err(|_| self.malformed("longer than allowed"))?;
                Ok(Some((len, head.len() - rest.len())))
            }
            Err(Error::Insufficient) if head.len() < VARINT_BYTES_MAX => Ok(None),
            Err(_) => Err(self.malformed("bad length")),
        }
    }

    fn malformed(&self, reason: &'static str) -> CarError {
        if self.past_header { CarError::Section { reason } } else { CarError::Header { reason } }
    }
}

fn decode_header(bytes: &[u8]) -> Result<Vec<ContentId>, CarError> {
    let bad = |reason| CarError::Header { reason };
    let header: Header = serde_ipld_dagcbor::from_slice(bytes).map_err(|_| bad("not DAG-CBOR of a header"))?;
    if header.version != 1 {
        return Err(bad("another version"));
    }
    if header.roots.len() > ROOTS_MAX {
        return Err(bad("too many roots"));
    }
    header.roots.into_iter().map(content_id).collect::<Result<_, _>>().map_err(CarError::Block)
}

fn decode_block(section: Bytes) -> Result<Block, CarError> {
    let mut rest = &section[..];
    let cid = cid::Cid::read_bytes(&mut rest).map_err(|_| CarError::Section { reason: "bad CID" })?;
    let cid = content_id(cid).map_err(CarError::Block)?;
    let data = section.slice(section.len() - rest.len()..);
    Block::check(cid, data).map_err(CarError::Block)
}

/// The first section of a CAR with these roots.
pub fn encode_header(roots: &[ContentId]) -> Bytes {
    let header = Header { roots: roots.iter().map(|root| root.0).collect(), version: 1 };
    let body = serde_ipld_dagcbor::to_vec(&header).unwrap_or_default(); // writing to memory does not fail
    [length_prefix(body.len()), body].concat().into()
}

/// One section of a CAR.
pub fn encode_block(block: &Block) -> Bytes {
    let cid = block.cid().0.to_bytes();
    let prefix = length_prefix(cid.len() + block.data().len());
    let mut section = Vec::with_capacity(prefix.len() + cid.len() + block.data().len());
    section.extend_from_slice(&prefix);
    section.extend_from_slice(&cid);
    section.extend_from_slice(block.data());
    section.into()
}

fn length_prefix(len: usize) -> Vec<u8> {
    let mut buffer = unsigned_varint::encode::usize_buffer();
    unsigned_varint::encode::usize(len, &mut buffer).to_vec()
}

/// Everything under `root` as a CAR, read a few blocks ahead on a blocking thread. Ends after the first error.
pub fn export_stream(store: &Store, root: &ContentId) -> BoxStream<'static, Result<Bytes, UnixFsError>> {
    export_many_stream(store, std::slice::from_ref(root))
}

/// Like [`export_stream`] for several roots, at most [`ROOTS_MAX`], one after the other.
pub fn export_many_stream(store: &Store, roots: &[ContentId]) -> BoxStream<'static, Result<Bytes, UnixFsError>> {
    let (store, roots) = (store.clone(), roots.to_vec());
    unixfs::blocking_stream(EXPORT_AHEAD, move |emit| {
        let mut emit = |bytes| if emit(bytes) { Ok(()) } else { Err(stopped()) };
        emit(encode_header(&roots))?;
        for root in &roots {
            unixfs::for_each_vertex(&store, root, &mut |visit, block| match (visit, block) {
                (_, Some(block)) => emit(encode_block(block)),
                (Visit::Leaf { cid, .. } | Visit::Inner { cid, .. }, None) => {
                    let block = store.get(cid).map_err(UnixFsError::Store)?;
                    emit(encode_block(&block.ok_or(UnixFsError::Missing { cid: *cid })?))
                }
            })?;
        }
        Ok(())
    })
}

fn stopped() -> UnixFsError {
    UnixFsError::Write(std::io::ErrorKind::BrokenPipe.into())
}

/// What was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The roots of the header with the bytes of the file under each; all of them are whole and recorded as kept.
    pub roots: Vec<(ContentId, u64)>,
    /// Bytes of the CAR.
    pub bytes: u64,
    /// Blocks of it that were not here yet; one that it repeats counts once.
    pub blocks: u64,
}

/// Receives a CAR of at most `bytes_max` bytes into `store`. Memory does not grow with its size.
///
/// # Errors
/// [`CarError`]. Blocks stored before an error stay, without a root; they have the right hash.
pub async fn receive(
    store: &Store,
    mut pieces: BoxStream<'_, std::io::Result<Bytes>>,
    bytes_max: u64,
) -> Result<Received, CarError> {
    let (store, hold) = (store.clone(), store.hold());
    let mut state = Receiving { store, hold, decoder: Decoder::new(), roots: Vec::new(), bytes: 0, blocks: 0 };
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(CarError::Receive)?;
        state.bytes += piece.len() as u64;
        if state.bytes > bytes_max {
            return Err(CarError::TooLarge { bytes_max });
        }
        state = on_blocking_thread(move || state.take(&piece)).await?;
    }
    on_blocking_thread(move || state.finish()).await
}

struct Receiving {
    store: Store,
    hold: Hold,
    decoder: Decoder,
    roots: Vec<ContentId>,
    bytes: u64,
    blocks: u64,
}

impl Receiving {
    fn take(mut self, piece: &[u8]) -> Result<Self, CarError> {
        // in small steps, so that one large piece does not have to be buffered twice
        for part in piece.chunks(1 << 20) {
            self.decoder.push(part);
            while let Some(item) = self.decoder.next_item()? {
                match item {
                    Item::Roots(roots) => self.roots = roots,
                    Item::Block(block) => self.stage(&block)?,
                }
            }
        }
        Ok(self)
    }

    fn stage(&mut self, block: &Block) -> Result<(), CarError> {
        if self.store.has(block.cid()) {
            return Ok(()); // also if the CAR repeats it
        }
        self.blocks += 1;
        self.hold.add(block.cid());
        let staged = self.store.stage(block).map_err(CarError::Store)?;
        if staged >= FLUSH_BYTES {
            self.store.flush().map_err(CarError::Store)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Received, CarError> {
        self.decoder.finish()?;
        self.store.flush().map_err(CarError::Store)?;
        let mut roots: Vec<(ContentId, u64)> = Vec::with_capacity(self.roots.len());
        for root in self.roots {
            if roots.iter().any(|(done, _)| *done == root) {
                continue; // a root that is named again is not looked through again
            }
            let bytes = unixfs::complete(&self.store, &root).map_err(CarError::Root)?;
            roots.push((root, bytes));
        }
        Ok(Received { roots, bytes: self.bytes, blocks: self.blocks })
    }
}

async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CarError> + Send + 'static,
) -> Result<T, CarError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(cause) => Err(CarError::Receive(std::io::Error::other(cause))),
    }
}

/// Decodes a whole CAR in memory: for the fuzzer, tests and small archives.
///
/// # Errors
/// [`CarError`].
pub fn decode(bytes: &[u8]) -> Result<Vec<Item>, CarError> {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    let mut items = Vec::new();
    while let Some(item) = decoder.next_item()? {
        items.push(item);
    }
    decoder.finish()?;
    Ok(items)
}

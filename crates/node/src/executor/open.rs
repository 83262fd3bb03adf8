//! From CIDs to what the sandbox reads: ciphertext is fetched whole and checked; the program is opened into memory, data
//! chunk by chunk when the guest asks for it.

use content::{Hold, Layout, Store};
use custody::{Opener, PLAINTEXT_CHUNK_BYTES, ReleasedKeys};
use model::{FailureClass, ObjectId, ObjectKind, PublishedObject};
use sandbox::Inputs;
use zeroize::Zeroizing;

use super::{Failure, Run};
use crate::storage::Content;

/// One object's ciphertext, all of it on this disk.
pub(super) struct Sealed {
    object: ObjectId,
    store: Store,
    layout: Layout,
    leaves: Vec<u8>,
    /// The ciphertext stays on this disk until the run has ended.
    _hold: Hold,
}

/// Inputs that are opened chunk by chunk.
pub(super) struct SealedInputs(Vec<SealedInput>);

struct SealedInput {
    name: String,
    sealed: Sealed,
    opener: Opener,
}

/// Most bytes of a sealed leaf list, which is read into memory: the list of a file of 64 GiB, the largest there is.
const LEAVES_BYTES_MAX: u64 = 4 << 20;

/// Fetches an object's ciphertext and its sealed list of leaf hashes. Both were made by a stranger, so neither is fetched
/// before its length is known to be one that this node can hold: a program is opened into memory as a whole, and the
/// ledger publishes none that is larger than the network's limit.
pub(super) async fn fetch(content: &Content, object: &PublishedObject) -> Result<Sealed, Failure> {
    let manifest = object.manifest.unverified();
    let (ciphertext, leaves) = (manifest.ciphertext, manifest.leaves);
    let hold = content.store().hold();
    let fetched = tokio::try_join!(
        content.fetch(&ciphertext, manifest.ciphertext_bytes, &hold),
        content.fetch(&leaves, LEAVES_BYTES_MAX, &hold)
    );
    fetched.map_err(Failure::content)?;
    let (object, store) = (object.manifest.object_id(), content.store().clone());
    let work = move || {
        let layout = content::layout(&store, &ciphertext)?;
        let mut list = Vec::new();
        content::unixfs::export(&store, &leaves, &mut list)?;
        Ok::<_, content::UnixFsError>(Sealed { object, store, layout, leaves: list, _hold: hold })
    };
    tokio::task::spawn_blocking(work).await.map_err(Failure::node)?.map_err(Failure::content)
}

/// What opens an object, once its key is released.
pub(super) fn opener(sealed: &Sealed, object: &PublishedObject, keys: &ReleasedKeys) -> Result<Opener, Failure> {
    let manifest = object.manifest.unverified();
    let key = keys.key(&sealed.object).ok_or_else(|| Failure::new(FailureClass::Keys, "a key is missing"))?;
    Opener::new(key, &manifest.seal, &sealed.leaves).map_err(|cause| Failure::new(broken(manifest.kind), cause))
}

/// Who is at fault if an object is not what its manifest says: a program is its requester's choice, and pays for its errors.
fn broken(kind: ObjectKind) -> FailureClass {
    match kind {
        ObjectKind::Program => FailureClass::Guest,
        ObjectKind::Data => FailureClass::Content,
    }
}

/// The inputs of a task, in its order, to be opened chunk by chunk.
pub(super) fn inputs(run: &Run, sealed: Vec<Sealed>, keys: &ReleasedKeys) -> Result<SealedInputs, Failure> {
    let mut inputs = Vec::with_capacity(sealed.len());
    for (input, sealed) in run.task.get().inputs.iter().zip(sealed) {
        let opener = opener(&sealed, run.object(&input.object)?.get(), keys)?;
        inputs.push(SealedInput { name: input.name.clone(), sealed, opener });
    }
    Ok(SealedInputs(inputs))
}

/// All of a program in memory.
pub(super) fn program(sealed: &Sealed, opener: &Opener) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let length = usize::try_from(opener.length()).map_err(Failure::content)?;
    // Reserved at once, so that no half-filled copies of the plaintext are left behind by growing.
    let mut plain = Zeroizing::new(Vec::with_capacity(length));
    for index in 0..opener.chunks() {
        let chunk =
            sealed.chunk(opener, index).map_err(|cause| Failure::new(cause.class(ObjectKind::Program), cause))?;
        plain.extend_from_slice(&chunk);
    }
    Ok(plain)
}

/// Why a chunk is not there in clear.
#[derive(Debug, thiserror::Error)]
enum NoChunk {
    /// The publisher's fault.
    #[error("there is no chunk {0}")]
    Missing(u64),
    /// The publisher's fault.
    #[error(transparent)]
    Open(#[from] custody::OpenError),
    /// This node's fault.
    #[error("its block cannot be read")]
    Store(#[from] content::StoreError),
    /// This node's fault: it was there when all of it had been fetched.
    #[error("block {0} is gone")]
    Gone(model::ContentId),
}

impl NoChunk {
    fn class(&self, kind: ObjectKind) -> FailureClass {
        match self {
            Self::Missing(_) | Self::Open(_) => broken(kind),
            Self::Store(_) | Self::Gone(_) => FailureClass::Node,
        }
    }
}

impl Sealed {
    /// One chunk of the plaintext.
    fn chunk(&self, opener: &Opener, index: u64) -> Result<Zeroizing<Vec<u8>>, NoChunk> {
        let leaf = usize::try_from(index).ok().and_then(|at| self.layout.leaves.get(at));
        let leaf = leaf.ok_or(NoChunk::Missing(index))?;
        let block = self.store.get(&leaf.cid)?.ok_or(NoChunk::Gone(leaf.cid))?;
        Ok(opener.open_chunk(index, block.into_data().to_vec())?)
    }
}

impl SealedInputs {
    /// The inputs as the sandbox lists them.
    pub(super) fn describe(&self) -> Vec<sandbox::Input> {
        let describe = |input: &SealedInput| sandbox::Input {
            name: input.name.clone(),
            bytes: input.opener.length(),
            chunk_bytes: PLAINTEXT_CHUNK_BYTES as u32,
        };
        self.0.iter().map(describe).collect()
    }
}

impl Inputs for SealedInputs {
    fn chunk(&mut self, input: usize, index: u64, into: &mut [u8]) -> Result<(), String> {
        let input = self.0.get(input).ok_or("there is no such input")?;
        let chunk = input.sealed.chunk(&input.opener, index).map_err(|cause| crate::chain_of(&cause))?;
        if chunk.len() != into.len() {
            return Err(format!("chunk {index} has {} bytes instead of {}", chunk.len(), into.len()));
        }
        into.copy_from_slice(&chunk);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_open_is_the_guests_fault_and_data_are_not() {
        let does_not_open = NoChunk::Open(custody::OpenError::Chunk { index: 3 });
        assert_eq!(does_not_open.class(ObjectKind::Program), FailureClass::Guest);
        assert_eq!(does_not_open.class(ObjectKind::Data), FailureClass::Content);
        let gone = NoChunk::Gone(model::ContentId::of_raw(b"block"));
        assert_eq!(gone.class(ObjectKind::Program), FailureClass::Node, "nobody else's fault");
    }
}

//! From CIDs to what the sandbox reads: ciphertext is fetched whole and checked; the program is opened into memory, data
//! chunk by chunk when the guest asks for it.

use content::{Hold, Layout, Store};
use custody::{Opener, PLAINTEXT_CHUNK_BYTES, ReleasedKeys};
use model::{FailureClass, ObjectId, PublishedObject};
use sandbox::{InputError, Inputs, SandboxError};
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
    let (ciphertext, leaves, chunks) = (manifest.ciphertext, manifest.leaves, manifest.seal.chunks);
    let hold = content.store().hold();
    let fetched = tokio::try_join!(
        content.fetch(&ciphertext, manifest.ciphertext_bytes, &hold),
        content.fetch(&leaves, LEAVES_BYTES_MAX, &hold)
    );
    fetched.map_err(Failure::content)?;
    let (object, store) = (object.manifest.object_id(), content.store().clone());
    let work = move || {
        let layout = content::layout(&store, &ciphertext, chunks)?;
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
    let opener = Opener::new(key, &manifest.seal, &sealed.leaves);
    opener.map_err(|cause| Failure::new(FailureClass::Guest, cause).with(keys))
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
        let chunk = sealed.chunk(opener, index).map_err(|cause| Failure::new(cause.class(), cause))?;
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
    /// Who is at fault. Objects are their requester's choice: if one is not what its manifest says, the time of the machine is
    /// paid all the same, or whoever seals rubbish has the network work for nothing.
    fn class(&self) -> FailureClass {
        match self {
            Self::Missing(_) | Self::Open(_) => FailureClass::Guest,
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
    fn chunk(&mut self, input: usize, index: u64, into: &mut [u8]) -> Result<(), InputError> {
        let input = self.0.get(input).ok_or("there is no such input")?;
        let chunk = input.sealed.chunk(&input.opener, index)?;
        if chunk.len() != into.len() {
            return Err(format!("chunk {index} has {} bytes instead of {}", chunk.len(), into.len()).into());
        }
        into.copy_from_slice(&chunk);
        Ok(())
    }
}

/// A run without an outcome.
pub(super) fn not_run(error: SandboxError, keys: &ReleasedKeys) -> Failure {
    match class_of(&error) {
        FailureClass::Node => Failure::node(error),
        class => Failure::new(class, error).with(keys),
    }
}

/// Who is at fault: whoever chose data that do not open, or this node.
fn class_of(error: &SandboxError) -> FailureClass {
    let SandboxError::Input { cause, .. } = error else { return FailureClass::Node };
    cause.downcast_ref().map_or(FailureClass::Node, NoChunk::class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_does_not_open_is_its_choosers_fault_and_a_lost_block_is_the_nodes() {
        assert_eq!(NoChunk::Open(custody::OpenError::Chunk { index: 3 }).class(), FailureClass::Guest);
        assert_eq!(NoChunk::Missing(3).class(), FailureClass::Guest);
        assert_eq!(
            NoChunk::Gone(model::ContentId::of_raw(b"block")).class(),
            FailureClass::Node,
            "nobody else's fault"
        );
    }

    #[test]
    fn what_a_guest_could_not_read_is_the_fault_of_whoever_chose_it_or_lost_it() {
        let class = |cause: InputError| class_of(&SandboxError::Input { input: 0, index: 3, cause });
        assert_eq!(class(NoChunk::Open(custody::OpenError::Chunk { index: 3 }).into()), FailureClass::Guest);
        assert_eq!(class(NoChunk::Gone(model::ContentId::of_raw(b"block")).into()), FailureClass::Node);
        assert_eq!(class("there is no such input".into()), FailureClass::Node);
        assert_eq!(class_of(&SandboxError::WorkerDied("signal 9".into())), FailureClass::Node);
    }
}

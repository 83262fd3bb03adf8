//! Published objects: ciphertext on IPFS, a signed manifest, shares of the key with custodians, acknowledged copies.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Blob, Bytes32, Canonical, ContentId, Digest, NodeId, ObjectId, Signable, Signed};

/// What an object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// A file that programs read.
    Data,
    /// A WASI 0.1 module or 0.2 component.
    Program,
}

impl std::fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Data => "data",
            Self::Program => "program",
        })
    }
}

/// How the bytes are encrypted. Named in every seal, so that it can be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suite {
    /// AES-256-GCM per chunk, HKDF-SHA256 keys, X-Wing HPKE for shares and results.
    #[serde(rename = "aes256gcm-xwing-1")]
    Aes256GcmXWing,
}

/// The public half of a sealed file (`docs/spec/object.md`): everything needed to open it but the content key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// Algorithms.
    pub suite: Suite,
    /// Fresh for every sealed file; makes chunk keys unique.
    pub salt: Bytes32,
    /// Commits to the content key: the authenticated encryption alone does not.
    pub key_commitment: Bytes32,
    /// Bytes of one ciphertext chunk, the last one included: 1 MiB, one UnixFS leaf. A smaller file has one smaller chunk.
    pub chunk_bytes: u32,
    /// How many chunks.
    pub chunks: u64,
    /// Root of the salted Merkle tree over the plaintext chunks.
    pub plaintext_root: Digest,
    /// True length, leaf salt key and the list of leaf hashes' own seal, encrypted under the content key; at most 4 KiB.
    pub sealed_meta: Blob,
}

/// What an owner signs about an object. Its canonical bytes, with the signature, are the block [`ObjectId`] names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Data or program.
    pub kind: ObjectKind,
    /// Who may set its terms and is paid for its use.
    pub owner: AccountId,
    /// Root of the ciphertext (UnixFS, profile `unixfs-v1-2025`).
    pub ciphertext: ContentId,
    /// Bytes of the ciphertext.
    pub ciphertext_bytes: u64,
    /// Root of the sealed list of leaf hashes, stored beside the ciphertext.
    pub leaves: ContentId,
    /// How it is sealed.
    pub seal: Seal,
    /// What the owner tells everybody.
    pub description: Option<Description>,
    /// A dummy of the same shape, in clear, for writing programs against (UnixFS root of plaintext).
    pub sample: Option<ContentId>,
}

impl Manifest {
    /// Most bytes of a signed manifest.
    pub const BYTES_MAX: usize = 64 << 10;
}

impl Signable for Manifest {
    const PURPOSE: &'static str = "manifest";
    fn signer(&self) -> AccountId {
        self.owner
    }
}

impl Signed<Manifest> {
    /// The id of the object: the CID of these canonical bytes.
    pub fn object_id(&self) -> ObjectId {
        ObjectId::of_manifest(&self.to_bytes())
    }
}

/// A public description; without it nobody could write a program for data whose shape is secret. At most 16 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Description {
    /// One line.
    pub title: String,
    /// Some paragraphs.
    pub text: String,
    /// Columns, for tables.
    pub columns: Vec<Column>,
    /// About how many rows, in words ("500 to 1,000").
    pub rows: String,
    /// Under which licence the plaintext stands.
    pub licence: String,
}

/// One column of a described table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Column {
    /// Its header.
    pub name: String,
    /// Unit of measurement, empty if none.
    pub unit: String,
    /// What it says.
    pub about: String,
}

/// Who holds the shares of an object's key, in the words of the object's owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deposit {
    /// Whose key.
    pub object: ObjectId,
    /// Who made the deposit: the object's owner.
    pub owner: AccountId,
    /// Rises with each resharing; shares of different epochs do not combine.
    pub epoch: u32,
    /// Shares needed, at least 1.
    pub threshold: u8,
    /// Holders, at most 16; the share of the holder at position i has index i + 1.
    pub custodians: Vec<Custodian>,
}

impl Signable for Deposit {
    const PURPOSE: &'static str = "deposit";
    fn signer(&self) -> AccountId {
        self.owner
    }
}

/// One holder of a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custodian {
    /// Which node.
    pub node: NodeId,
    /// SHA-256 of the X-Wing key the share was sealed to, as registered.
    pub sealing_key: Digest,
    /// Commits to the share: `H(domain "share-commitment", object, owner, epoch, index, share)`.
    pub commitment: Digest,
}

/// A custodian has opened its share, checked it against the commitment and written it to disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepositAck {
    /// Digest of the [`Deposit`].
    pub deposit: Digest,
    /// Its share's index, from 1.
    pub index: u8,
    /// The custodian.
    pub custodian: NodeId,
}

impl Signable for DepositAck {
    const PURPOSE: &'static str = "deposit-ack";
    fn signer(&self) -> AccountId {
        self.custodian
    }
}

/// A node has fetched every block under a CID and will keep them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageAck {
    /// What it stores.
    pub content: ContentId,
    /// Bytes of the file under that root.
    pub bytes: u64,
    /// Until when, ledger time in milliseconds.
    pub until_ms: u64,
    /// Who stores it.
    pub node: NodeId,
}

impl Signable for StorageAck {
    const PURPOSE: &'static str = "storage-ack";
    fn signer(&self) -> AccountId {
        self.node
    }
}

/// Everything the ledger demands before an object is active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedObject {
    /// The owner's manifest.
    pub manifest: Signed<Manifest>,
    /// Who holds the key; the owner says so.
    pub deposit: Signed<Deposit>,
    /// One acknowledgement of every custodian, in the order of the deposit.
    pub deposit_acks: Vec<Signed<DepositAck>>,
    /// At least `copies` acknowledgements for the ciphertext and as many for the leaves, ascending by (content, node).
    pub storage: Vec<Signed<StorageAck>>,
}

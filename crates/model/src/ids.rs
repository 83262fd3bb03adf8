//! Names of things: digests, content ids, accounts, nodes, objects, tasks, networks.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use crate::bytes::{byte_array, deserialize_bytes, serialize_bytes};

/// Why a text is not an id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{text}' is not {expected}")]
pub struct IdError {
    text: String,
    expected: &'static str,
}

impl IdError {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(100).collect(), expected }
    }
}

macro_rules! hex_text {
    ($name:ident, $expected:literal) => {
        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let bytes = hex::decode(text).map_err(|_| IdError::new(text, $expected))?;
                Self::from_slice(&bytes).ok_or_else(|| IdError::new(text, $expected))
            }
        }
    };
}

byte_array!(
    /// A SHA-256 digest (FIPS 180-4).
    Digest, 32
);
hex_text!(Digest, "a digest of 64 hexadecimal digits");

impl Digest {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// SHA-256 over each part prefixed by its length as a big-endian `u64`, so that no two lists of parts collide.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

byte_array!(
    /// A network: the digest of its genesis. It is in every signing domain, so nothing is valid on two networks.
    NetworkId, 32
);
hex_text!(NetworkId, "a network id of 64 hexadecimal digits");

byte_array!(
    /// A task: the digest of its record's canonical bytes.
    TaskId, 32
);
hex_text!(TaskId, "a task id of 64 hexadecimal digits");

/// An account: an Ed25519 public key (RFC 8032), shown as `did:key:z6Mk…` (W3C did:key).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub [u8; 32]);

/// A node is an account whose key is attested: it signs evidence, receipts and releases, and it is paid.
pub type NodeId = AccountId;

impl AccountId {
    /// Holds what is locked for tasks under way. No key belongs to it (not a curve point).
    pub const ESCROW: Self = Self([0xfd; 32]);
    /// Receives transaction fees and rounding remainders. No key belongs to it.
    pub const TREASURY: Self = Self([0xfe; 32]);
    /// Development networks only: what `account top-up` draws on. No key belongs to it.
    pub const FAUCET: Self = Self([0xfc; 32]);

    const MULTICODEC_ED25519: [u8; 2] = [0xed, 0x01];

    /// Reads 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// One of the accounts without a key, which the ledger itself moves.
    pub fn is_reserved(&self) -> bool {
        [Self::ESCROW, Self::TREASURY, Self::FAUCET].contains(self)
    }
}

impl AsRef<[u8]> for AccountId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ESCROW => f.write_str("escrow"),
            Self::TREASURY => f.write_str("treasury"),
            Self::FAUCET => f.write_str("faucet"),
            Self(key) => {
                let bytes = [&Self::MULTICODEC_ED25519[..], &key].concat();
                write!(f, "did:key:z{}", bs58::encode(bytes).into_string())
            }
        }
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AccountId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match text {
            "escrow" => return Ok(Self::ESCROW),
            "treasury" => return Ok(Self::TREASURY),
            "faucet" => return Ok(Self::FAUCET),
            _ => {}
        }
        let error = || IdError::new(text, "an account (did:key:z6Mk…)");
        let encoded = text.strip_prefix("did:key:z").filter(|rest| rest.len() <= 64).ok_or_else(error)?;
        let bytes = bs58::decode(encoded).into_vec().map_err(|_| error())?;
        let key = bytes.strip_prefix(&Self::MULTICODEC_ED25519).ok_or_else(error)?;
        Self::from_slice(key).ok_or_else(error)
    }
}

impl Serialize for AccountId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serialize_bytes(&self.0, serializer) }
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
        }
        let bytes = deserialize_bytes(deserializer)?;
        Self::from_slice(&bytes).ok_or_else(|| de::Error::invalid_length(bytes.len(), &"32 bytes"))
    }
}

macro_rules! content_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub cid::Cid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = || IdError::new(text, $expected);
                if text.len() > 100 {
                    return Err(error());
                }
                let cid = cid::Cid::try_from(text).map_err(|_| error())?;
                check_cid(&cid).then_some(Self(cid)).ok_or_else(error)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
                }
                let cid = cid::Cid::deserialize(deserializer)?;
                check_cid(&cid).then_some(Self(cid)).ok_or_else(|| de::Error::custom(concat!("not ", $expected)))
            }
        }
    };
}

content_id!(
    /// An IPFS CID: version 1, sha2-256, codec raw, dag-pb or dag-cbor. Names ciphertext unless the field says otherwise.
    ContentId, "a CID (version 1, sha2-256)"
);
content_id!(
    /// A published object: the CID of its signed manifest (dag-cbor).
    ObjectId, "an object id (a CID beginning with bafy)"
);

const CODEC_RAW: u64 = 0x55;
const CODEC_DAG_PB: u64 = 0x70;
const CODEC_DAG_CBOR: u64 = 0x71;
const MULTIHASH_SHA2_256: u64 = 0x12;

fn check_cid(cid: &cid::Cid) -> bool {
    cid.version() == cid::Version::V1
        && [CODEC_RAW, CODEC_DAG_PB, CODEC_DAG_CBOR].contains(&cid.codec())
        && cid.hash().code() == MULTIHASH_SHA2_256
        && cid.hash().size() == 32
}

impl ContentId {
    fn with_codec(codec: u64, bytes: &[u8]) -> Self {
        let digest = Digest::of(bytes);
        let hash =
            cid::multihash::Multihash::wrap(MULTIHASH_SHA2_256, &digest.0).expect("32 bytes fit the 64 of a multihash");
        Self(cid::Cid::new_v1(codec, hash))
    }

    /// The CID of `bytes` as one dag-cbor block.
    pub fn of_dag_cbor(bytes: &[u8]) -> Self {
        Self::with_codec(CODEC_DAG_CBOR, bytes)
    }

    /// The CID of `bytes` as one raw block (a UnixFS leaf).
    pub fn of_raw(bytes: &[u8]) -> Self {
        Self::with_codec(CODEC_RAW, bytes)
    }

    /// The SHA-256 digest inside.
    pub fn hash(&self) -> Digest {
        Digest::from_slice(self.0.hash().digest()).expect("checked on the way in: sha2-256 has 32 bytes")
    }
}

impl ObjectId {
    /// The id of an object whose signed manifest has these canonical bytes.
    pub fn of_manifest(bytes: &[u8]) -> Self {
        Self(ContentId::of_dag_cbor(bytes).0)
    }
}

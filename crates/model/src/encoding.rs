//! The one encoding: DAG-CBOR, in its canonical form only.
//!
//! DAG-CBOR (IPLD specification) orders map keys, forbids indefinite lengths and uses the shortest integers. Decoders
//! differ in how much of that they enforce, so [`Canonical::from_bytes`] re-encodes what it read and compares: two
//! different byte strings never decode to the same value.

use serde::{Serialize, de::DeserializeOwned};

use crate::{ContentId, Digest};

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodingError {
    /// Longer than the caller allows; nothing was decoded.
    #[error("{bytes} bytes, at most {bytes_max} are allowed")]
    TooLong {
        /// What came.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// Not DAG-CBOR of this type.
    #[error("this is not a {what}")]
    Malformed {
        /// The type that was expected.
        what: &'static str,
        /// What the decoder says, for whoever debugs one; it names its own inner types.
        reason: String,
    },
    /// Decodes, but not to the bytes that were given.
    #[error("{what} is not in canonical form")]
    NotCanonical {
        /// The type that was expected.
        what: &'static str,
    },
}

/// A type with exactly one encoding.
pub trait Canonical: Serialize + DeserializeOwned {
    /// Encodes as canonical DAG-CBOR.
    fn to_bytes(&self) -> Vec<u8> {
        serde_ipld_dagcbor::to_vec(self)
            .expect("memory does not fail, and records have neither floats nor odd map keys")
    }

    /// Decodes; refuses more than `bytes_max` bytes, trailing bytes and every form but the canonical one.
    ///
    /// # Errors
    /// [`EncodingError`].
    fn from_bytes(bytes: &[u8], bytes_max: usize) -> Result<Self, EncodingError> {
        let what = short_name::<Self>();
        if bytes.len() > bytes_max {
            return Err(EncodingError::TooLong { bytes: bytes.len(), bytes_max });
        }
        let value: Self = serde_ipld_dagcbor::from_slice(bytes)
            .map_err(|cause| EncodingError::Malformed { what, reason: cause.to_string() })?;
        if value.to_bytes() == bytes { Ok(value) } else { Err(EncodingError::NotCanonical { what }) }
    }

    /// SHA-256 of the canonical bytes.
    fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// The CID (version 1, dag-cbor, sha2-256) of the canonical bytes as an IPFS block.
    fn content_id(&self) -> ContentId {
        ContentId::of_dag_cbor(&self.to_bytes())
    }
}

impl<T: Serialize + DeserializeOwned> Canonical for T {}

fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let end = name.find('<').unwrap_or(name.len());
    let start = name[..end].rfind("::").map_or(0, |at| at + 2);
    &name[start..end]
}

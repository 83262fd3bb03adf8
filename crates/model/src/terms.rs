//! Terms: an owner's conditions for using an object.

use serde::{Deserialize, Serialize};

use crate::{AccountId, ObjectId, Signable};

/// Conditions for using an object, signed by its owner. The highest serial holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// For which object.
    pub object: ObjectId,
    /// Its owner.
    pub owner: AccountId,
    /// 1 for the first; custodians and ledger refuse a lower one than they have seen.
    pub serial: u64,
    /// Credits for each use.
    pub price: u64,
    /// Who may ask.
    pub requesters: Allow<AccountId>,
    /// For data: the programs that may read it. For a program: the data it may read.
    pub counterparts: Allow<ObjectId>,
    /// How many uses in all, over all versions of the terms; `None` is no bound.
    pub uses_max: Option<u64>,
    /// From when on no new task is accepted, ledger time in milliseconds.
    pub expires_ms: Option<u64>,
    /// Most bytes that may leave in one run; the strictest of all objects in a task holds.
    pub output_bytes_max: Option<u64>,
    /// The object is withdrawn: no further use, no further terms.
    pub revoked: bool,
}

impl Terms {
    /// Most bytes of signed terms.
    pub const BYTES_MAX: usize = 64 << 10;
    /// Most entries of one list.
    pub const LIST_MAX: usize = 256;
}

impl Signable for Terms {
    const PURPOSE: &'static str = "terms";
    fn signer(&self) -> AccountId {
        self.owner
    }
}

/// Everybody, or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allow<T> {
    /// No restriction.
    Any,
    /// These only; ascending, without repetition.
    Only(Vec<T>),
}

impl<T: Ord> Allow<T> {
    /// Whether `who` is allowed.
    pub fn admits(&self, who: &T) -> bool {
        match self {
            Self::Any => true,
            Self::Only(list) => list.contains(who),
        }
    }

    /// Whether a list is ascending and without repetition.
    pub fn is_canonical(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Only(list) => list.windows(2).all(|pair| pair[0] < pair[1]),
        }
    }
}

//! Terms: an owner's conditions for using an object.

use serde::{Deserialize, Serialize};

use crate::{AccountId, ObjectId, Signable, Task, show_time};

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

/// Which condition of an object's terms a task does not meet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAdmitted {
    /// The owner has withdrawn the object.
    #[error("its owner has withdrawn {object}")]
    Revoked {
        /// Which object.
        object: ObjectId,
    },
    /// The terms have run out.
    #[error("the terms of {object} ended on {}; the ledger's time is {}", show_time(*expires_ms), show_time(*time_ms))]
    Expired {
        /// Which object.
        object: ObjectId,
        /// When they ended.
        expires_ms: u64,
        /// Ledger time.
        time_ms: u64,
    },
    /// The requester is not on the owner's list.
    #[error("{requester} is not on the list of requesters that the owner of {object} allows")]
    Requester {
        /// Whose terms.
        object: ObjectId,
        /// Who asked.
        requester: AccountId,
    },
    /// The program (or the data) is not on the owner's list.
    #[error("{counterpart} is not on the list that the owner of {object} allows")]
    Counterpart {
        /// Whose terms.
        object: ObjectId,
        /// What it was to be used with.
        counterpart: ObjectId,
    },
    /// The task does not use the object at all.
    #[error("the task does not use {object}")]
    NotUsed {
        /// Which object.
        object: ObjectId,
    },
}

impl Terms {
    /// Whether these terms admit `task` at ledger time `time_ms`: not withdrawn, not expired, the requester allowed, and
    /// the program (for data) or all of the data (for a program) allowed. How many uses are left, only the ledger knows.
    ///
    /// # Errors
    /// [`NotAdmitted`] names the first condition that is not met.
    pub fn admit(&self, task: &Task, time_ms: u64) -> Result<(), NotAdmitted> {
        let object = self.object;
        if self.revoked {
            return Err(NotAdmitted::Revoked { object });
        }
        if let Some(expires_ms) = self.expires_ms.filter(|expires_ms| time_ms >= *expires_ms) {
            return Err(NotAdmitted::Expired { object, expires_ms, time_ms });
        }
        if !self.requesters.admits(&task.requester) {
            return Err(NotAdmitted::Requester { object, requester: task.requester });
        }
        let counterpart = |counterpart: ObjectId| {
            let admitted = self.counterparts.admits(&counterpart);
            admitted.then_some(()).ok_or(NotAdmitted::Counterpart { object, counterpart })
        };
        if task.program == object {
            task.inputs.iter().try_for_each(|input| counterpart(input.object))
        } else if task.inputs.iter().any(|input| input.object == object) {
            counterpart(task.program)
        } else {
            Err(NotAdmitted::NotUsed { object })
        }
    }
}

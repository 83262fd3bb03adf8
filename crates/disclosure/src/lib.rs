//! Decides what may leave a run.
//!
//! A rule comes from the owners' terms; where several owners' data meet, the strictest holds. What a rule does not admit
//! does not leave in part: a cut-off result would say where it was cut. Today there is one rule, the most bytes of output;
//! review, statistical checks and differential privacy (DESIGN.md 4, Disclosure) are further variants of [`Rule`].
//!
//! This crate holds no data at rest, no keys and no budget, and knows neither ledger nor sandbox.
#![forbid(unsafe_code)]

/// What the owners of a task's objects let out together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Most bytes of standard output, files and their names together.
    pub output_bytes_max: u64,
}

/// An output that may not leave. The guest, or whoever wrote it, is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the output has {bytes} bytes, the owners let out at most {bytes_max}")]
pub struct Withheld {
    /// What the run left.
    pub bytes: u64,
    /// What may leave.
    pub bytes_max: u64,
}

impl Rule {
    /// The rule that holds where both hold.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        Self { output_bytes_max: self.output_bytes_max.min(other.output_bytes_max) }
    }

    /// Whether an output of `bytes` bytes may leave.
    ///
    /// # Errors
    /// [`Withheld`]; then nothing of it may.
    pub fn admit(&self, bytes: u64) -> Result<(), Withheld> {
        if bytes <= self.output_bytes_max {
            return Ok(());
        }
        Err(Withheld { bytes, bytes_max: self.output_bytes_max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_too_many_stays() {
        let rule = Rule { output_bytes_max: 100 };
        assert_eq!(rule.admit(100), Ok(()));
        assert_eq!(rule.admit(101), Err(Withheld { bytes: 101, bytes_max: 100 }));
    }

    #[test]
    fn the_strictest_rule_wins_whoever_comes_first() {
        let (strict, lax) = (Rule { output_bytes_max: 0 }, Rule { output_bytes_max: u64::MAX });
        assert_eq!(strict.strictest(lax), strict);
        assert_eq!(lax.strictest(strict), strict);
        assert!(strict.admit(1).is_err());
        assert!(strict.admit(0).is_ok());
    }
}

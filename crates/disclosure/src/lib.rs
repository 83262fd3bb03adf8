//! Decides what may leave a run.
//!
//! The ledger fixes the rule when it draws the executor: of the bounds in the task and in the owners' terms, the strictest.
//! Here it is applied. What it does not admit does not leave in part: a cut-off result would say where it was cut. What is no
//! result but tells the requester how the run went, the exit code and standard error, gets the room that the result leaves.
//! Today there is one rule, the most bytes; review, statistical checks and differential privacy would be further variants of
//! [`Rule`].
//!
//! This crate holds no data at rest, no keys and no budget, and knows neither ledger nor sandbox.
#![forbid(unsafe_code)]

/// Bytes of an exit code.
const EXIT_CODE_BYTES: u64 = 4;

/// What may leave a run: what the assignment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Most bytes of all that leaves: standard output, files and their paths, exit code, standard error.
    pub output_bytes_max: u64,
}

/// What a run left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Bytes of standard output, of files and of their paths.
    pub result_bytes: u64,
    /// What the guest ended with.
    pub exit_code: i32,
    /// Bytes of standard error.
    pub stderr_bytes: u64,
}

/// What of it leaves: the whole result, and of the rest what there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The guest's, if there is room for its four bytes; else 0 or 1, for success or not.
    pub exit_code: i32,
    /// How much of standard error, from its beginning.
    pub stderr_bytes: u64,
}

/// A result that may not leave. The guest, or whoever wrote it, is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the result has {bytes} bytes, the owners let out at most {bytes_max}")]
pub struct Withheld {
    /// What the run left.
    pub bytes: u64,
    /// What may leave.
    pub bytes_max: u64,
}

impl Rule {
    /// What may leave of what a run left.
    ///
    /// # Errors
    /// [`Withheld`]; then nothing of it may.
    pub fn admit(&self, left: &Left) -> Result<Admitted, Withheld> {
        let withheld = Withheld { bytes: left.result_bytes, bytes_max: self.output_bytes_max };
        let room = self.output_bytes_max.checked_sub(left.result_bytes).ok_or(withheld)?;
        Ok(match room.checked_sub(EXIT_CODE_BYTES) {
            Some(room) => Admitted { exit_code: left.exit_code, stderr_bytes: left.stderr_bytes.min(room) },
            None => Admitted { exit_code: i32::from(left.exit_code != 0), stderr_bytes: 0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(output_bytes_max: u64, result_bytes: u64) -> Result<Admitted, Withheld> {
        Rule { output_bytes_max }.admit(&Left { result_bytes, exit_code: 0x1234_5678, stderr_bytes: 50 })
    }

    #[test]
    fn one_byte_too_many_stays() {
        assert!(admit(100, 100).is_ok());
        assert_eq!(admit(100, 101), Err(Withheld { bytes: 101, bytes_max: 100 }));
    }

    #[test]
    fn exit_code_and_standard_error_get_the_room_that_the_result_leaves() {
        let whole = |stderr_bytes| Ok(Admitted { exit_code: 0x1234_5678, stderr_bytes });
        assert_eq!(admit(100, 46), whole(50));
        assert_eq!(admit(100, 47), whole(49));
        assert_eq!(admit(100, 96), whole(0));
        assert_eq!(admit(100, 97), Ok(Admitted { exit_code: 1, stderr_bytes: 0 }), "three bytes are no exit code");
        assert_eq!(admit(0, 0), Ok(Admitted { exit_code: 1, stderr_bytes: 0 }));
        let success = Left { result_bytes: 0, exit_code: 0, stderr_bytes: 1 };
        assert_eq!(Rule { output_bytes_max: 0 }.admit(&success), Ok(Admitted { exit_code: 0, stderr_bytes: 0 }));
    }
}

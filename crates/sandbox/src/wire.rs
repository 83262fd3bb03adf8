//! What parent and children say to each other.

use serde::{Deserialize, Serialize};

use crate::job::{Input, Limits, Metering};
use crate::outcome::Limit;

/// Bytes of a [`FromWorker::Data`] message at most.
pub(crate) const DATA_BYTES_MAX: usize = 64 << 10;

/// What kind of program a memory file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// WASI 0.1.
    Module,
    /// WASI 0.2.
    Component,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// The run. Carries the native code and, if there are inputs, the buffer that chunks arrive in.
    Assign(Box<Assignment>),
    /// The chunk that was asked for is in the buffer.
    Chunk,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) kind: Kind,
    pub(crate) metering: Metering,
    pub(crate) args: Vec<String>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) limits: Limits,
    pub(crate) seed: [u8; 32],
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// Without files and network, waiting.
    Ready,
    /// The kernel would not take a right away.
    Unconfined(String),
    /// The native code is mapped, the system calls are given up, the guest starts now.
    Started,
    /// A chunk of an input is wanted.
    Need { input: u32, index: u64 },
    /// The guest has ended. Unless a limit was reached, streams follow.
    Finished(Ending),
    /// So many bytes of this stream follow.
    Stream { stream: Stream, bytes: u64 },
    /// Some of them.
    Data(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Everything has been said.
    Done,
    /// The worker found a bug in itself, there.
    Broken(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    Exited(i32),
    Trapped(String),
    Limit(Limit),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
    File(String),
}

/// The order to a compiler. Carries the module.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Compile {
    pub(crate) metering: Metering,
    pub(crate) threads: u32,
}

/// What the compiler says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromCompiler {
    /// Done. Carries the native code.
    Compiled(Kind),
    Unconfined(String),
    Invalid(String),
    UnknownImport(String),
    NotACommand(Kind),
    Broken(String),
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;

    /// As [`crate::channel::Channel`] reads a packet.
    fn read<T: DeserializeOwned>(bytes: &[u8]) -> bool {
        serde_ipld_dagcbor::from_slice::<T>(bytes).is_ok()
    }

    fn read_as_anything(bytes: &[u8]) -> [bool; 4] {
        [read::<FromWorker>(bytes), read::<ToWorker>(bytes), read::<FromCompiler>(bytes), read::<Compile>(bytes)]
    }

    fn bytes(message: &impl Serialize) -> Vec<u8> {
        serde_ipld_dagcbor::to_vec(message).unwrap()
    }

    fn one_of_each() -> Vec<Vec<u8>> {
        vec![
            bytes(&FromWorker::Ready),
            bytes(&FromWorker::Unconfined("landlock".into())),
            bytes(&FromWorker::Need { input: 1, index: 1 << 40 }),
            bytes(&FromWorker::Finished(Ending::Exited(-1))),
            bytes(&FromWorker::Finished(Ending::Limit(Limit::Memory))),
            bytes(&FromWorker::Stream { stream: Stream::File("a/b".into()), bytes: 9 }),
            bytes(&FromWorker::Data(vec![1; 40])),
            bytes(&FromCompiler::Compiled(Kind::Component)),
            bytes(&FromCompiler::Invalid("no".into())),
            bytes(&ToWorker::Chunk),
            bytes(&Compile { metering: Metering::Fuel, threads: 2 }),
        ]
    }

    #[test]
    fn whatever_a_child_that_was_taken_over_says_is_read_or_refused() {
        for message in one_of_each() {
            assert!(read_as_anything(&message).contains(&true));
            for at in 0..message.len() {
                read_as_anything(&message[..at]);
                for byte in 0..=u8::MAX {
                    let mut other = message.clone();
                    other[at] = byte;
                    read_as_anything(&other);
                }
            }
        }
    }

    #[test]
    fn neither_deep_nor_large_announcements_take_stack_or_memory() {
        let deep = [0x81; crate::channel::MESSAGE_BYTES_MAX];
        let [long_list, long_bytes, long_text] =
            [0x9b, 0x5b, 0x7b].map(|kind| [&[0xa1, 0x64][..], b"Data", &[kind], &[0x7f; 8]].concat());
        for bytes in [&deep[..], &long_list, &long_bytes, &long_text] {
            assert_eq!(read_as_anything(bytes), [false; 4]);
        }
    }
}

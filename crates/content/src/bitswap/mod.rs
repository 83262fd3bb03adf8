//! Bitswap 1.2.0: peers send wantlists of CIDs and answer with blocks, or with "have" and "don't have".
//!
//! * `message`: the wire format, pure.
//! * `wants`: what we want, from whom, and who has lied or stalled; a state machine without I/O that takes time as an
//!   argument.
//! * `serve`: what a peer wants from us, bounded.
//! * `exchange`: the tasks that move messages between streams, the two above and the store.
//!
//! Rules that other implementations force on us, found by testing against Kubo, boxo and Helia: they open a stream for
//! each message; a stream may end in the middle of one, and then a cancel must precede the repeated want; unknown
//! implementations are asked for at most 2 MiB at a time; all new wants go into one message; an inbound stream is read
//! until it ends and never dropped; an idle outbound stream is closed after three seconds.

pub(crate) mod exchange;
mod message;
mod serve;
mod wants;

pub use message::{
    BLOCKS_MAX, Entry, MESSAGE_BYTES_MAX, Message, MessageError, PRESENCES_MAX, Payload, Presence, WANTS_MAX, Wanted,
    decode_message,
};

/// The protocol's name.
pub const PROTOCOL: &str = "/ipfs/bitswap/1.2.0";

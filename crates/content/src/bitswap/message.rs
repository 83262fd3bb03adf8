//! The wire format: one protobuf message, framed by its length (bitswap specification, 1.2.0).
//!
//! ```text
//! Message  { 1 Wantlist { 1 repeated Entry { 1 cid  2 priority  3 cancel  4 type (0 block, 1 have)  5 sendDontHave }
//!                         2 full }
//!            3 repeated Payload { 1 prefix  2 data }
//!            4 repeated Presence { 1 cid  2 type (0 have, 1 don't have) }
//!            5 pendingBytes }
//! ```
//!
//! Unknown fields are skipped, as protobuf wants it. Every count and length is bounded while decoding, so a message
//! never costs more memory than a small multiple of its own size.

use bytes::Bytes;
use model::Digest;

use crate::{
    Block,
    block::{CID_BYTES_MAX, SHA2_256},
    protobuf::{LENGTH_DELIMITED, Value, Wrong, for_each_field, put_field, put_integer, put_varint, take_varint},
};

/// Most bytes of a message, its length prefix apart (bitswap specification).
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Most wantlist entries of a message.
pub const WANTS_MAX: usize = 8192;
/// Most blocks of a message.
pub const BLOCKS_MAX: usize = 8192;
/// Most presences of a message.
pub const PRESENCES_MAX: usize = 16384;
/// Most bytes of a block's prefix: four small integers.
const PREFIX_BYTES_MAX: usize = 40;

/// Why bytes are not a message. Whoever sent them is at fault.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// Longer than the specification allows.
    #[error("a bitswap message of more than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
    /// A field ends after its message does.
    #[error("a bitswap message ends too early")]
    Truncated,
    /// Not protobuf.
    #[error("a bitswap message is malformed")]
    Malformed,
    /// More entries, blocks or presences than allowed.
    #[error("a bitswap message has too many {0}")]
    TooMany(&'static str),
    /// A CID, a prefix or a block is longer than any can be.
    #[error("a bitswap message has a field that is too long: {0}")]
    FieldTooLong(&'static str),
}

impl From<Wrong> for MessageError {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Truncated => Self::Truncated,
            Wrong::Malformed => Self::Malformed,
        }
    }
}

/// What an entry of a wantlist asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The block.
    Block,
    /// Only whether the other side has it.
    Have,
}

/// One entry of a wantlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which block, any version and codec.
    pub cid: Bytes,
    /// No longer wanted.
    pub cancel: bool,
    /// Block or presence.
    pub wanted: Wanted,
    /// Whether to answer if the block is not there.
    pub send_dont_have: bool,
}

/// A block on the wire: its CID is made of the prefix and the hash of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// CID version, codec, hash function and hash length, as varints.
    pub prefix: Bytes,
    /// The bytes.
    pub data: Bytes,
}

/// Whether the other side has a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Which block.
    pub cid: Bytes,
    /// It has it.
    pub have: bool,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The entries replace the wantlist instead of adding to it.
    pub full: bool,
    /// What is wanted and no longer wanted.
    pub entries: Vec<Entry>,
    /// Blocks.
    pub blocks: Vec<Payload>,
    /// Presences.
    pub presences: Vec<Presence>,
}

impl Payload {
    /// A block as it is sent to somebody who asked for `cid`, whose version and codec are echoed.
    pub(crate) fn answering(cid: &[u8], data: Bytes) -> Self {
        let version_and_codec = match cid::Cid::try_from(cid) {
            Ok(cid) if cid.version() == cid::Version::V1 => (1, cid.codec()),
            _ => (0, crate::block::DAG_PB),
        };
        let mut prefix = Vec::with_capacity(8);
        put_varint(&mut prefix, version_and_codec.0);
        put_varint(&mut prefix, version_and_codec.1);
        put_varint(&mut prefix, SHA2_256);
        put_varint(&mut prefix, Digest::LEN as u64);
        Self { prefix: prefix.into(), data }
    }

    /// Whether the prefix names sha2-256; blocks of other hashes are never asked for.
    pub(crate) fn is_sha2_256(&self) -> bool {
        let mut rest = &self.prefix[..];
        let mut next = || take_varint(&mut rest).ok();
        let (_version, _codec) = (next(), next());
        (next(), next()) == (Some(SHA2_256), Some(Digest::LEN as u64))
    }
}

/// Decodes a message, without its length prefix.
///
/// # Errors
/// [`MessageError`].
pub fn decode_message(bytes: &[u8]) -> Result<Message, MessageError> {
    Message::decode(&Bytes::copy_from_slice(bytes))
}

impl Message {
    /// Decodes a message; blocks share the memory of `bytes`.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &Bytes) -> Result<Self, MessageError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong);
        }
        let mut message = Self::default();
        for_each_field::<MessageError>(bytes, &mut |field| match field {
            (1, Value::Bytes(wantlist)) => message.decode_wantlist(&wantlist),
            (3, Value::Bytes(payload)) => push(&mut message.blocks, decode_payload(&payload)?, BLOCKS_MAX, "blocks"),
            (4, Value::Bytes(presence)) => {
                push(&mut message.presences, decode_presence(&presence)?, PRESENCES_MAX, "presences")
            }
            _ => Ok(()),
        })?;
        Ok(message)
    }

    fn decode_wantlist(&mut self, bytes: &Bytes) -> Result<(), MessageError> {
        for_each_field::<MessageError>(bytes, &mut |field| match field {
            (1, Value::Bytes(entry)) => push(&mut self.entries, decode_entry(&entry)?, WANTS_MAX, "wants"),
            (2, Value::Integer(full)) => {
                self.full = full != 0;
                Ok(())
            }
            _ => Ok(()),
        })
    }

    /// The message with its length prefix, as pieces to be written one after the other; blocks are not copied.
    pub fn encode(&self) -> Vec<Bytes> {
        let mut pieces = vec![Bytes::new()];
        let mut open = Vec::new();
        put_field(&mut open, 1, &self.encode_wantlist());
        for presence in &self.presences {
            put_field(&mut open, 4, &encode_presence(presence));
        }
        for block in &self.blocks {
            put_payload_head(&mut open, block);
            pieces.push(std::mem::take(&mut open).into());
            pieces.push(block.data.clone());
        }
        pieces.push(open.into());
        let len: usize = pieces.iter().map(Bytes::len).sum();
        let mut prefix = Vec::with_capacity(5);
        put_varint(&mut prefix, len as u64);
        pieces[0] = prefix.into();
        pieces
    }

    fn encode_wantlist(&self) -> Vec<u8> {
        let mut wantlist = Vec::new();
        for entry in &self.entries {
            put_field(&mut wantlist, 1, &encode_entry(entry));
        }
        if self.full {
            put_integer(&mut wantlist, 2, 1);
        }
        wantlist
    }

    /// Whether there is nothing in it to send.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.blocks.is_empty() && self.presences.is_empty() && !self.full
    }
}

fn decode_entry(bytes: &Bytes) -> Result<Entry, MessageError> {
    let mut entry = Entry { cid: Bytes::new(), cancel: false, wanted: Wanted::Block, send_dont_have: false };
    for_each_field::<MessageError>(bytes, &mut |field| {
        match field {
            (1, Value::Bytes(cid)) => entry.cid = copied(&cid)?,
            (3, Value::Integer(cancel)) => entry.cancel = cancel != 0,
            (4, Value::Integer(1)) => entry.wanted = Wanted::Have,
            (5, Value::Integer(send)) => entry.send_dont_have = send != 0,
            _ => {}
        }
        Ok(())
    })?;
    Ok(entry)
}

fn decode_payload(bytes: &Bytes) -> Result<Payload, MessageError> {
    let mut payload = Payload { prefix: Bytes::new(), data: Bytes::new() };
    for_each_field::<MessageError>(bytes, &mut |field| {
        match field {
            (1, Value::Bytes(prefix)) => payload.prefix = bounded(prefix, PREFIX_BYTES_MAX, "prefix")?,
            (2, Value::Bytes(data)) => payload.data = bounded(data, Block::BYTES_MAX, "block")?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(payload)
}

fn decode_presence(bytes: &Bytes) -> Result<Presence, MessageError> {
    let mut presence = Presence { cid: Bytes::new(), have: true };
    for_each_field::<MessageError>(bytes, &mut |field| {
        match field {
            (1, Value::Bytes(cid)) => presence.cid = copied(&cid)?,
            (2, Value::Integer(kind)) => presence.have = kind == 0,
            _ => {}
        }
        Ok(())
    })?;
    Ok(presence)
}

fn push<T>(list: &mut Vec<T>, item: T, items_max: usize, what: &'static str) -> Result<(), MessageError> {
    if list.len() >= items_max {
        return Err(MessageError::TooMany(what));
    }
    list.push(item);
    Ok(())
}

fn bounded(bytes: Bytes, bytes_max: usize, what: &'static str) -> Result<Bytes, MessageError> {
    if bytes.len() > bytes_max { Err(MessageError::FieldTooLong(what)) } else { Ok(bytes) }
}

/// A CID waits in queues for long; it must not hold on to the message it came in, which may be a hundred thousand times as
/// large.
fn copied(cid: &Bytes) -> Result<Bytes, MessageError> {
    if cid.len() > CID_BYTES_MAX { Err(MessageError::FieldTooLong("CID")) } else { Ok(Bytes::copy_from_slice(cid)) }
}

fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entry.cid.len() + 16);
    put_field(&mut bytes, 1, &entry.cid);
    put_integer(&mut bytes, 2, 1); // priority: all alike
    if entry.cancel {
        put_integer(&mut bytes, 3, 1);
    }
    if entry.wanted == Wanted::Have {
        put_integer(&mut bytes, 4, 1);
    }
    if entry.send_dont_have {
        put_integer(&mut bytes, 5, 1);
    }
    bytes
}

fn encode_presence(presence: &Presence) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(presence.cid.len() + 8);
    put_field(&mut bytes, 1, &presence.cid);
    if !presence.have {
        put_integer(&mut bytes, 2, 1);
    }
    bytes
}

/// Everything of a payload field up to its data.
fn put_payload_head(out: &mut Vec<u8>, block: &Payload) {
    let mut head = Vec::with_capacity(24);
    put_field(&mut head, 1, &block.prefix);
    put_varint(&mut head, 2 << 3 | LENGTH_DELIMITED);
    put_varint(&mut head, block.data.len() as u64);
    put_varint(out, 3 << 3 | LENGTH_DELIMITED);
    put_varint(out, (head.len() + block.data.len()) as u64);
    out.extend_from_slice(&head);
}

#[cfg(test)]
mod tests {
    use model::ContentId;

    use super::*;

    fn sample() -> Message {
        let cid = Bytes::from(ContentId::of_raw(b"leaf").0.to_bytes());
        Message {
            full: true,
            entries: vec![
                Entry { cid: cid.clone(), cancel: false, wanted: Wanted::Block, send_dont_have: true },
                Entry { cid: cid.clone(), cancel: true, wanted: Wanted::Have, send_dont_have: false },
            ],
            blocks: vec![Payload::answering(&cid, Bytes::from_static(b"leaf"))],
            presences: vec![Presence { cid: cid.clone(), have: true }, Presence { cid, have: false }],
        }
    }

    fn body(message: &Message) -> Vec<u8> {
        message.encode()[1..].concat()
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let message = sample();
        assert_eq!(decode_message(&body(&message)), Ok(message.clone()));
        assert!(message.blocks[0].is_sha2_256());
        let framed = message.encode();
        let mut prefix = &framed[0][..];
        assert_eq!(take_varint(&mut prefix).unwrap() as usize, body(&message).len());
    }

    /// A queue of 4,096 wants would else hold 4,096 messages of 4 MiB.
    #[test]
    fn wants_and_presences_do_not_hold_on_to_their_message() {
        let bytes = Bytes::from(body(&Message { blocks: Vec::new(), ..sample() }));
        let message = Message::decode(&bytes).unwrap();
        assert!(bytes.is_unique());
        drop(message);
    }

    #[test]
    fn no_prefix_of_a_message_makes_the_decoder_panic() {
        let bytes = body(&sample());
        for len in 0..bytes.len() {
            let _ = decode_message(&bytes[..len]);
        }
    }

    #[test]
    fn lengths_beyond_the_message_are_refused() {
        for bytes in [&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0x1a, 0x05, 0x0a][..], &[0x09, 1, 2][..]] {
            assert_eq!(decode_message(bytes), Err(MessageError::Truncated));
        }
        assert_eq!(decode_message(&[0x0b]), Err(MessageError::Malformed));
        assert_eq!(decode_message(&[0xff; 11]), Err(MessageError::Malformed));
    }

    #[test]
    fn too_many_of_anything_is_refused() {
        let many = |field: u8, count: usize| [field << 3 | 2, 0].repeat(count);
        assert_eq!(decode_message(&many(3, BLOCKS_MAX + 1)), Err(MessageError::TooMany("blocks")));
        assert_eq!(decode_message(&many(4, PRESENCES_MAX + 1)), Err(MessageError::TooMany("presences")));
        let mut wantlist = Vec::new();
        put_field(&mut wantlist, 1, &many(1, WANTS_MAX + 1));
        assert_eq!(decode_message(&wantlist), Err(MessageError::TooMany("wants")));
    }

    #[test]
    fn oversized_fields_are_refused() {
        let mut payload = Vec::new();
        put_field(&mut payload, 2, &vec![0; Block::BYTES_MAX + 1]);
        let mut message = Vec::new();
        put_field(&mut message, 3, &payload);
        assert_eq!(decode_message(&message), Err(MessageError::FieldTooLong("block")));
        assert_eq!(decode_message(&vec![0; MESSAGE_BYTES_MAX + 1]), Err(MessageError::TooLong));
    }

    #[test]
    fn a_cid_of_version_0_is_echoed_as_such() {
        let hash = cid::multihash::Multihash::wrap(SHA2_256, &Digest::of(b"x").0).unwrap();
        let cid = cid::Cid::new_v0(hash).unwrap().to_bytes();
        assert_eq!(&Payload::answering(&cid, Bytes::new()).prefix[..2], &[0, 0x70]);
    }
}

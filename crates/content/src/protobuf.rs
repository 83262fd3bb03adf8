//! Protobuf: just enough of it for bitswap messages and UnixFS vertices.
//!
//! Why not `quick-protobuf`, which `rust-unixfs` reads vertices with: a field that is longer than the message around it takes
//! its reader past the end of that message, where it panics; without overflow checks a length of nearly 2^64 takes it back from
//! there, and a block of a few bytes from anybody keeps it reading for ever.

use bytes::Bytes;

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
pub(crate) const LENGTH_DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

/// Why bytes are not protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// A field ends after its message does.
    Truncated,
    /// Something else.
    Malformed,
}

/// What a field holds. Fields of fixed length are passed over: nothing read here has any.
pub(crate) enum Value {
    Integer(u64),
    Bytes(Bytes),
}

/// Goes through the fields of one message, which is all of `bytes`; values share its memory.
pub(crate) fn for_each_field<E: From<Wrong>>(
    bytes: &Bytes,
    each: &mut dyn FnMut((u64, Value)) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        let field = key >> 3;
        match key & 7 {
            VARINT => each((field, Value::Integer(take_varint(&mut rest)?)))?,
            LENGTH_DELIMITED => {
                let len = usize::try_from(take_varint(&mut rest)?).map_err(|_| Wrong::Truncated)?;
                let value = take(&mut rest, len)?;
                each((field, Value::Bytes(bytes.slice_ref(value))))?;
            }
            FIXED_64 => drop(take(&mut rest, 8)?),
            FIXED_32 => drop(take(&mut rest, 4)?),
            _ => return Err(Wrong::Malformed.into()),
        }
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Wrong> {
    let (value, after) = rest.split_at_checked(len).ok_or(Wrong::Truncated)?;
    *rest = after;
    Ok(value)
}

pub(crate) fn take_varint(rest: &mut &[u8]) -> Result<u64, Wrong> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first().ok_or(Wrong::Truncated)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Wrong::Malformed)
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_integer(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3 | VARINT);
    put_varint(out, value);
}

pub(crate) fn put_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | LENGTH_DELIMITED);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

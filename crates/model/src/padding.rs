//! How long a file is once it is sealed (`docs/spec/object.md`): the ledger bounds results by it, and proofs open commitments.

/// Bytes of plaintext in a full chunk: one UnixFS leaf less the tag.
pub const PLAINTEXT_CHUNK_BYTES: u64 = (1 << 20) - TAG_BYTES;
const TAG_BYTES: u64 = 16;
/// Files are padded to at least this, so that the length of a small result says nothing.
const PADDED_BYTES_MIN: u64 = 4096;

/// Length after padding: Padmé (Nikitin and others, "Reducing Metadata Leakage from Encrypted Files", 2019) of at least 4 KiB.
/// It adds less than 12 % and shows only about how long a file is. `None` if that is no number.
pub fn padded_length(length: u64) -> Option<u64> {
    let length = length.max(PADDED_BYTES_MIN);
    let exponent = length.ilog2();
    let kept_bits = exponent.ilog2() + 1;
    let mask = (1u64 << (exponent - kept_bits)) - 1;
    Some(length.checked_add(mask)? & !mask)
}

/// Bytes of the ciphertext of a file of `length` bytes: padded, and a tag for each chunk. `None` if that is no number.
pub fn sealed_length(length: u64) -> Option<u64> {
    let padded = padded_length(length)?;
    padded.checked_add(padded.div_ceil(PLAINTEXT_CHUNK_BYTES) * TAG_BYTES)
}

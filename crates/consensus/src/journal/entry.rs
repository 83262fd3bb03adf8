//! One block in the journal, and its frame.
//!
//! ```text
//! frame   = u32 length of payload ‖ SHA-256 of payload ‖ payload
//! payload = part header ‖ list of transaction digests ‖ list of bodies ‖ list of records
//! list    = u32 count ‖ parts        part = u32 length ‖ bytes        integers big-endian
//! ```

use std::{io, ops::Range};

use finality::Header;
use model::Digest;

/// Most bytes of one payload; far above what a block of 1 MiB of transactions causes.
const PAYLOAD_BYTES_MAX: usize = 256 << 20;
pub(super) const FRAME_BYTES: usize = 4 + Digest::LEN;

/// One block to be kept.
pub(crate) struct Entry<'a> {
    pub(crate) header: &'a Header,
    pub(crate) transactions: &'a [Digest],
    pub(crate) bodies: &'a [Vec<u8>],
    pub(crate) records: &'a [Vec<u8>],
}

impl Entry<'_> {
    pub(super) fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        push_part(&mut out, &self.header.to_bytes());
        out.extend_from_slice(&(self.transactions.len() as u32).to_be_bytes());
        self.transactions.iter().for_each(|digest| out.extend_from_slice(&digest.0));
        push_list(&mut out, self.bodies.iter().map(Vec::as_slice));
        push_list(&mut out, self.records.iter().map(Vec::as_slice));
        out
    }
}

/// Returns where the parts stand now.
fn push_list<'a>(out: &mut Vec<u8>, parts: impl Iterator<Item = &'a [u8]>) -> Vec<Range<usize>> {
    let count_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let places: Vec<_> = parts.map(|part| push_part(out, part)).collect();
    out[count_at..count_at + 4].copy_from_slice(&(places.len() as u32).to_be_bytes());
    places
}

fn push_part(out: &mut Vec<u8>, part: &[u8]) -> Range<usize> {
    out.extend_from_slice(&(part.len() as u32).to_be_bytes());
    let begin = out.len();
    out.extend_from_slice(part);
    begin..out.len()
}

/// Where everything stands in a payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) header: Header,
    pub(super) header_at: Range<usize>,
    pub(super) transactions: Range<usize>,
    pub(super) bodies: Vec<Range<usize>>,
    pub(super) records: Vec<Range<usize>>,
}

impl Layout {
    /// `None` if these bytes are no payload.
    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor { bytes: payload, at: 0 };
        let (header, header_at) = cursor.header()?;
        let layout = Self {
            header,
            header_at,
            transactions: cursor.digests()?,
            bodies: cursor.list()?,
            records: cursor.list()?,
        };
        (cursor.at == payload.len()).then_some(layout)
    }

    /// The same payload with those bodies alone that `keep` names by their positions, and where everything stands in it.
    pub(super) fn keep(&self, payload: &[u8], keep: impl Fn(&Range<usize>) -> bool) -> (Vec<u8>, Self) {
        // The list of bodies begins where the transactions end; the list of records is the end of the payload.
        let mut out = payload[..self.transactions.end].to_vec();
        let kept = self.bodies.iter().filter(|body| keep(body));
        let layout = Self {
            header: self.header.clone(),
            header_at: self.header_at.clone(),
            transactions: self.transactions.clone(),
            bodies: push_list(&mut out, kept.map(|body| &payload[body.clone()])),
            records: push_list(&mut out, self.records.iter().map(|record| &payload[record.clone()])),
        };
        (out, layout)
    }
}

/// What is written for a payload.
pub(super) fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[..], &Digest::of(payload).0, payload].concat()
}

/// The payload of the frame that begins here, if it is whole and ends within `left` bytes.
pub(super) fn read_frame(reader: &mut impl io::Read, left: u64) -> io::Result<Option<Vec<u8>>> {
    if left < FRAME_BYTES as u64 {
        return Ok(None);
    }
    let mut frame = [0; FRAME_BYTES];
    reader.read_exact(&mut frame)?;
    let (size, checksum) = frame.split_at(4);
    let size = integer(size);
    if size > PAYLOAD_BYTES_MAX || (FRAME_BYTES + size) as u64 > left {
        return Ok(None);
    }
    let mut payload = vec![0; size];
    reader.read_exact(&mut payload)?;
    Ok((Digest::of(&payload).0 == checksum).then_some(payload))
}

/// Whether a whole frame of a block above `height` begins anywhere in these bytes.
pub(super) fn holds_later_frame(bytes: &[u8], height: u64) -> bool {
    (0..bytes.len()).any(|at| {
        // Few places look like the beginning of one; only those are hashed.
        let header = bytes.get(at + FRAME_BYTES..).and_then(|payload| Cursor { bytes: payload, at: 0 }.header());
        header.is_some_and(|(header, _)| header.height > height)
            && read_frame(&mut &bytes[at..], (bytes.len() - at) as u64).is_ok_and(|payload| payload.is_some())
    })
}

fn integer(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |value, byte| value << 8 | *byte as usize)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, length: usize) -> Option<Range<usize>> {
        let range = self.at..self.at.checked_add(length)?;
        (range.end <= self.bytes.len()).then(|| self.at = range.end)?;
        Some(range)
    }

    fn integer(&mut self) -> Option<usize> {
        let range = self.take(4)?;
        Some(integer(&self.bytes[range]))
    }

    fn part(&mut self) -> Option<Range<usize>> {
        let length = self.integer()?;
        self.take(length)
    }

    fn header(&mut self) -> Option<(Header, Range<usize>)> {
        let length = self.integer().filter(|length| *length <= Header::BYTES_MAX)?;
        let range = self.take(length)?;
        Some((Header::from_bytes(&self.bytes[range.clone()]).ok()?, range))
    }

    fn list(&mut self) -> Option<Vec<Range<usize>>> {
        let count = self.integer()?;
        (0..count).map(|_| self.part()).collect()
    }

    fn digests(&mut self) -> Option<Range<usize>> {
        let count = self.integer()?;
        self.take(count.checked_mul(Digest::LEN)?)
    }
}

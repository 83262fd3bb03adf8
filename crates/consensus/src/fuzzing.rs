//! For the fuzzer: blocks from bytes and back.

use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _};
use finality::Header;

use crate::block::{Block, transactions_root};

/// A block of these transactions, as it is sent, with this header but for what commits to them.
pub fn block(header: Header, transactions: Vec<Vec<u8>>) -> Option<Vec<u8>> {
    let header = Header { transactions: transactions_root(&transactions), ..header };
    Block::new(header, transactions).map(|block| block.encode().to_vec())
}

/// What a block from a peer is sent on as; `None` if it is refused.
pub fn recode(bytes: &[u8]) -> Option<Vec<u8>> {
    Block::decode(Bytes::copy_from_slice(bytes)).ok().map(|block| block.encode().to_vec())
}

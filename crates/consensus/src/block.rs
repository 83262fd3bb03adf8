//! A block as validators send it to each other: header, transactions, and room for the committee's key ceremonies.

use bytes::{BufMut, Bytes};
use commonware_codec::{Buf, EncodeSize, Error, RangeCfg, Read, ReadExt as _, Write};
use commonware_consensus::{
    Block as ConsensusBlock, BoundedBlock, CertifiableBlock, Heightable,
    simplex::types::Context,
    types::{Height, View},
};
use commonware_cryptography::{Digestible, ed25519};
use finality::{
    Header,
    engine::{self, EngineDigest},
};
use model::{Digest, log::Frontier};

/// Most transactions in one block.
pub const BLOCK_TRANSACTIONS_MAX: usize = 512;
/// Most bytes of all transactions in one block.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Most bytes of one transaction.
pub const TRANSACTION_BYTES_MAX: usize = model::Transaction::BYTES_MAX;
/// Most bytes of the reserved payload. No payload is accepted yet.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// A block. Everything in it is committed to by its digest, the digest of its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) header: Header,
    pub(crate) transactions: Vec<Vec<u8>>,
    /// Reserved for key ceremonies, so that resharing needs no new format.
    pub(crate) payload: Option<Bytes>,
    context: BlockContext,
    digest: Digest,
}

pub(crate) type BlockContext = Context<EngineDigest, ed25519::PublicKey>;

impl Block {
    /// A block without payload. `None` if the header's leader is no Ed25519 key.
    pub(crate) fn new(header: Header, transactions: Vec<Vec<u8>>) -> Option<Self> {
        let context = context_of(&header)?;
        Some(Self { digest: header.digest(), header, transactions, payload: None, context })
    }

    pub(crate) fn model_digest(&self) -> Digest {
        self.digest
    }

    /// Digests of the transactions, in order.
    pub(crate) fn transaction_ids(&self) -> Vec<Digest> {
        self.transactions.iter().map(|transaction| Digest::of(transaction)).collect()
    }
}

/// What a header commits its transactions to: the root of a log with their digests as leaves.
pub(crate) fn transactions_root(transactions: &[Vec<u8>]) -> Digest {
    let mut frontier = Frontier::default();
    transactions.iter().for_each(|transaction| frontier.append(&Digest::of(transaction)));
    frontier.root()
}

fn context_of(header: &Header) -> Option<BlockContext> {
    Some(Context {
        round: engine::round(&header.round),
        leader: public_key(&header.leader)?,
        parent: (View::new(header.parent_view), engine::digest(&header.parent)),
    })
}

/// The engine's form of a node id.
pub(crate) fn public_key(node: &model::NodeId) -> Option<ed25519::PublicKey> {
    ed25519::PublicKey::read(&mut Bytes::copy_from_slice(&node.0)).ok()
}

/// Our form of the engine's digest.
pub(crate) fn model_digest(digest: &EngineDigest) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Digest(bytes)
}

impl Write for Block {
    fn write(&self, buf: &mut impl BufMut) {
        Bytes::from(self.header.to_bytes()).write(buf);
        self.transactions.len().write(buf);
        for transaction in &self.transactions {
            transaction.len().write(buf);
            buf.put_slice(transaction);
        }
        self.payload.write(buf);
    }
}

impl EncodeSize for Block {
    fn encode_size(&self) -> usize {
        let part = |length: usize| length.encode_size() + length;
        part(self.header.to_bytes().len())
            + self.transactions.len().encode_size()
            + self.transactions.iter().map(|transaction| part(transaction.len())).sum::<usize>()
            + self.payload.encode_size()
    }
}

impl Read for Block {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        let invalid = |why| Error::Invalid("Block", why);
        let header = Bytes::read_cfg(buf, &RangeCfg::from(..=Header::BYTES_MAX))?;
        let header = Header::from_bytes(&header).map_err(|_| invalid("header"))?;
        let count = usize::read_cfg(buf, &RangeCfg::from(..=BLOCK_TRANSACTIONS_MAX))?;
        let (mut transactions, mut room) = (Vec::with_capacity(count), BLOCK_BYTES_MAX);
        for _ in 0..count {
            let longest = room.min(TRANSACTION_BYTES_MAX);
            let transaction = Bytes::read_cfg(buf, &RangeCfg::from(1..=longest.max(1)))?;
            room = room.checked_sub(transaction.len()).ok_or(invalid("too many bytes of transactions"))?;
            transactions.push(transaction.to_vec());
        }
        let payload = Option::<Bytes>::read_cfg(buf, &RangeCfg::from(..=PAYLOAD_BYTES_MAX))?;
        if transactions_root(&transactions) != header.transactions {
            return Err(invalid("the header commits to other transactions"));
        }
        if payload.as_ref().map(|payload| Digest::of(payload)) != header.payload {
            return Err(invalid("the header commits to another payload"));
        }
        let context = context_of(&header).ok_or(invalid("leader"))?;
        Ok(Self { digest: header.digest(), header, transactions, payload, context })
    }
}

impl Digestible for Block {
    type Digest = EngineDigest;

    fn digest(&self) -> EngineDigest {
        engine::digest(&self.digest)
    }
}

impl Heightable for Block {
    fn height(&self) -> Height {
        Height::new(self.header.height)
    }
}

impl ConsensusBlock for Block {
    fn parent(&self) -> EngineDigest {
        engine::digest(&self.header.parent)
    }
}

impl CertifiableBlock for Block {
    type Context = BlockContext;

    fn context(&self) -> BlockContext {
        self.context.clone()
    }
}

impl BoundedBlock for Block {
    fn max_encode_size(_: &()) -> usize {
        const LENGTH: usize = 5;
        LENGTH
            + Header::BYTES_MAX
            + LENGTH
            + BLOCK_TRANSACTIONS_MAX * LENGTH
            + BLOCK_BYTES_MAX
            + 1
            + LENGTH
            + PAYLOAD_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use commonware_codec::{DecodeExt as _, Encode as _};
    use finality::{StateOps, testing::Committee};
    use model::Round;

    use super::*;

    fn block(transactions: Vec<Vec<u8>>) -> Block {
        let digest = Digest::of(b"");
        let header = Header {
            round: Round { epoch: 0, view: 1 },
            leader: Committee::deal(1).members()[0],
            parent_view: 0,
            parent: digest,
            height: 1,
            time_ms: 1,
            state_root: digest,
            state_ops: StateOps { root: digest, start: 0, end: 1 },
            transactions: transactions_root(&transactions),
            log_size: 0,
            log_root: digest,
            parent_seed: None,
            payload: None,
        };
        Block::new(header, transactions).unwrap()
    }

    fn decode(bytes: &[u8]) -> Result<Block, Error> {
        Block::decode(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn a_block_has_one_encoding() {
        let block = block(vec![b"one".to_vec(), b"two".to_vec()]);
        let bytes = block.encode();
        assert_eq!(bytes.len(), block.encode_size());
        assert_eq!(decode(&bytes).unwrap(), block);
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.to_vec();
                other[position] ^= 1 << bit;
                let Ok(decoded) = decode(&other) else { continue };
                assert_eq!(decoded.encode(), other, "two encodings of one block");
                assert_ne!(decoded.model_digest(), block.model_digest(), "two blocks with one digest");
            }
        }
        assert!(decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn blocks_are_bounded() {
        let most = |transaction: Vec<u8>, count| block(vec![transaction; count]).encode();
        let limit = Block::max_encode_size(&());
        for (transaction, count) in [(vec![0; 2_048], 512), (vec![0; TRANSACTION_BYTES_MAX], 8)] {
            let bytes = most(transaction, count);
            assert!(bytes.len() <= limit && decode(&bytes).is_ok());
        }
        assert!(decode(&most(vec![0], BLOCK_TRANSACTIONS_MAX + 1)).is_err());
        assert!(decode(&most(vec![0; 2_049], 512)).is_err());
        assert!(decode(&most(vec![0; TRANSACTION_BYTES_MAX + 1], 1)).is_err());
        assert!(decode(&most(Vec::new(), 1)).is_err());
    }
}

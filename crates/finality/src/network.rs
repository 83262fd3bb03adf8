//! The checks, each from bytes that nobody vouches for to a fact.

use bytes::Bytes;
use commonware_codec::{Buf, Decode as _, Read};
use commonware_consensus::simplex::scheme::bls12381_threshold::vrf::Seed as EngineSeed;
use commonware_cryptography::bls12381::primitives::variant::MinSig;
use commonware_parallel::Sequential;
use model::{
    Bytes96, Canonical as _, Digest, EncodingError, NetworkId, Record, Seed,
    api::{CertifiedHead, IndexedRecord, ProvenExtension, ProvenRecords, ProvenState},
    log,
};
use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    Finalized, Head, Header, HeaderError,
    engine::{
        self, Absence, CERTIFICATE_BYTES_MAX, Finalization, Identity, Presence, STATE_DIGESTS_MAX, Scheme, StateHasher,
        StateValue,
    },
};

/// Which link of the chain from network key to fact broke. Whoever sent the bytes is at fault, except for
/// [`FinalityError::Key`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FinalityError {
    /// The network file is wrong.
    #[error("the network key is not a BLS12-381 key")]
    Key,
    /// The certificate cannot be read.
    #[error("the certificate is not laid out as a finalization certificate")]
    Certificate,
    /// The header cannot be read.
    #[error("the certified header cannot be read")]
    Header(#[source] HeaderError),
    /// The certificate is about another header.
    #[error("the certificate is about another header than the one beside it")]
    OtherHeader,
    /// The header is not from the round that was certified, nor from an earlier view of its epoch.
    #[error("the header's round does not fit its certificate")]
    Round,
    /// The signatures do not verify under the network key.
    #[error("the certificate was not signed by this network's committee")]
    Signature,
    /// The log proof does not fit.
    #[error("the records are not in the log that the head commits to")]
    Log,
    /// A leaf of the log is no record.
    #[error("entry {index} of the log is not a record")]
    Record {
        /// Which leaf.
        index: u64,
        /// Why.
        #[source]
        cause: EncodingError,
    },
    /// A record names another network.
    #[error("entry {index} of the log belongs to network {network}")]
    OtherNetwork {
        /// Which leaf.
        index: u64,
        /// The network it names.
        network: NetworkId,
    },
    /// A record claims to be younger than the head that commits to it.
    #[error("entry {index} of the log claims to be younger than the block that commits to it")]
    Younger {
        /// Which leaf.
        index: u64,
    },
    /// The proof about a value of the live state does not fit.
    #[error("the state that the head commits to does not hold this value under this key")]
    State,
    /// The newer log does not extend the older.
    #[error("the log does not extend the one seen before: this ledger was rewritten, or it is another one")]
    Extension,
    /// The seed is not the beacon of its round.
    #[error("the seed is not this network's beacon of its round")]
    Seed,
}

/// What all trust in a ledger starts from. Whoever has these 128 bytes needs nothing else to check what is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Digest of the genesis; in every signing domain.
    pub id: NetworkId,
    /// The committee's threshold key.
    pub key: Bytes96,
}

impl Network {
    /// Checks that the committee has certified `head.header` as final.
    ///
    /// # Errors
    /// [`FinalityError`] up to [`FinalityError::Signature`].
    pub fn check_head(&self, head: &CertifiedHead) -> Result<Head, FinalityError> {
        let header = Header::from_bytes(&head.header.0).map_err(FinalityError::Header)?;
        let digest = Digest::of(&head.header.0);
        let certificate = read_certificate(&head.certificate.0)?;
        if certificate.proposal.payload != engine::digest(&digest) {
            return Err(FinalityError::OtherHeader);
        }
        // The last block of an epoch may be proposed again in a later view and then keeps its round.
        let certified = certificate.proposal.round;
        if header.round.epoch != certified.epoch().get() || header.round.view > certified.view().get() {
            return Err(FinalityError::Round);
        }
        // The two signatures are checked as one sum. Unweighted, (vote + D, seed - D) would pass as well as
        // (vote, seed), so the engine weights them with random scalars; here these come from a hash over everything
        // that is checked, which leaves a forger nothing to choose afterwards.
        let mut weights =
            StdRng::from_seed(Digest::of_parts(&[&self.id.0, &self.key.0, &head.certificate.0, &head.header.0]).0);
        if !certificate.verify(&mut weights, &self.scheme()?, &Sequential) {
            return Err(FinalityError::Signature);
        }
        Ok(Head { network: self.id, header, digest })
    }

    /// Checks a head and the records proven against it.
    ///
    /// # Errors
    /// [`FinalityError`].
    pub fn check_proven(&self, proven: &ProvenRecords) -> Result<(Head, Vec<Finalized<Record>>), FinalityError> {
        let head = self.check_head(&proven.head)?;
        let records = head.records(&proven.records, &proven.digests)?;
        Ok((head, records))
    }

    /// Checks what the live state holds under `proven.key` at a certified head: a value, or nothing.
    ///
    /// # Errors
    /// [`FinalityError`].
    pub fn check_state(&self, proven: &ProvenState) -> Result<(Head, Option<Vec<u8>>), FinalityError> {
        let head = self.check_head(&proven.head)?;
        let (key, root) = (engine::digest(&proven.key), engine::digest(&head.state_root()));
        let holds = match &proven.value {
            Some(value) => {
                let proof: Presence = decode(&proven.proof.0, &(STATE_DIGESTS_MAX, ())).ok_or(FinalityError::State)?;
                let value = engine::digest(&Digest::of(&value.0));
                proof.verify::<StateHasher, StateValue>(key, value, &root)
            }
            None => {
                let proof: Absence =
                    decode(&proven.proof.0, &(STATE_DIGESTS_MAX, (), ())).ok_or(FinalityError::State)?;
                proof.verify::<StateHasher>(&key, &root)
            }
        };
        if holds { Ok((head, proven.value.as_ref().map(|value| value.0.clone()))) } else { Err(FinalityError::State) }
    }

    /// Checks that the log of a later head extends a log seen before.
    ///
    /// # Errors
    /// [`FinalityError`].
    pub fn check_extension(
        &self,
        old_size: u64,
        old_root: &Digest,
        proven: &ProvenExtension,
    ) -> Result<Head, FinalityError> {
        let head = self.check_head(&proven.head)?;
        if log::check_consistency(old_size, old_root, head.log_size(), &head.log_root(), &proven.digests) {
            Ok(head)
        } else {
            Err(FinalityError::Extension)
        }
    }

    /// Checks that a seed is the committee's beacon of its round.
    ///
    /// # Errors
    /// [`FinalityError::Key`], [`FinalityError::Seed`].
    pub fn check_seed(&self, seed: &Seed) -> Result<(), FinalityError> {
        let signature = engine::signature(&seed.signature).map_err(|_| FinalityError::Seed)?;
        let seed = EngineSeed::<MinSig>::new(engine::round(&seed.round), signature);
        if seed.verify(&self.scheme()?) { Ok(()) } else { Err(FinalityError::Seed) }
    }

    fn scheme(&self) -> Result<Scheme, FinalityError> {
        let identity: Identity = engine::identity(&self.key).map_err(|_| FinalityError::Key)?;
        Ok(Scheme::certificate_verifier(&engine::namespace(&self.id), identity))
    }
}

impl Head {
    /// Checks records against this head. The head beside the records must be this one.
    ///
    /// # Errors
    /// [`FinalityError`].
    pub fn check_records(&self, proven: &ProvenRecords) -> Result<Vec<Finalized<Record>>, FinalityError> {
        if Digest::of(&proven.head.header.0) != self.digest {
            return Err(FinalityError::OtherHeader);
        }
        self.records(&proven.records, &proven.digests)
    }

    /// Checks that `records` are in the log of this head, at their indices. No records need no proof.
    fn records(&self, records: &[IndexedRecord], digests: &[Digest]) -> Result<Vec<Finalized<Record>>, FinalityError> {
        let leaves: Vec<_> = records.iter().map(|entry| (entry.index, Digest::of(&entry.record.0))).collect();
        let in_log = match leaves.as_slice() {
            [] => digests.is_empty(),
            leaves => log::check_many(&self.log_root(), self.log_size(), leaves, digests),
        };
        if !in_log {
            return Err(FinalityError::Log);
        }
        leaves.iter().zip(records).map(|((_, digest), entry)| self.record(entry, *digest)).collect()
    }

    fn record(&self, entry: &IndexedRecord, digest: Digest) -> Result<Finalized<Record>, FinalityError> {
        let index = entry.index;
        let record = Record::from_bytes(&entry.record.0, Record::BYTES_MAX)
            .map_err(|cause| FinalityError::Record { index, cause })?;
        if record.network != self.network {
            return Err(FinalityError::OtherNetwork { index, network: record.network });
        }
        if record.height > self.height() || record.time_ms > self.time_ms() {
            return Err(FinalityError::Younger { index });
        }
        let (height, time_ms) = (record.height, record.time_ms);
        Ok(Finalized { value: record, height, time_ms, index, digest })
    }
}

fn read_certificate(bytes: &[u8]) -> Result<Finalization, FinalityError> {
    if bytes.len() > CERTIFICATE_BYTES_MAX {
        return Err(FinalityError::Certificate);
    }
    decode(bytes, &()).ok_or(FinalityError::Certificate)
}

fn decode<T: Read>(bytes: &[u8], config: &T::Cfg) -> Option<T>
where
    Bytes: Buf,
{
    T::decode_cfg(Bytes::copy_from_slice(bytes), config).ok()
}

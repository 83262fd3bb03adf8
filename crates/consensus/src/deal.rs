//! A trusted dealer for development networks: one process makes the network key and hands out its shares. Whoever ran it
//! could have kept them; networks that must not rest on that will use the key ceremony (`docs/adr`).

use std::num::NonZeroU32;

use bytes::Bytes;
use commonware_codec::{Decode as _, DecodeExt as _, Encode as _};
use commonware_cryptography::{
    bls12381::{
        dkg::feldman_desmedt::deal as deal_shares,
        primitives::{
            group::Share,
            sharing::{Mode, ModeVersion, Sharing},
            variant::MinSig,
        },
    },
    ed25519,
};
use commonware_utils::{N3f1, NZU32, TryCollect as _, ordered::Set, sys_rng};
use finality::engine::{self, Scheme};
use model::{Blob, Bytes96, Genesis, NodeId};
use zeroize::Zeroizing;

use crate::block::public_key;

/// Most members of a committee.
const MEMBERS_MAX: NonZeroU32 = NZU32!(128);

/// What a dealer makes.
pub struct Dealing {
    /// The network key.
    pub network_key: Bytes96,
    /// The public polynomial, for the genesis.
    pub sharing: Blob,
    /// One secret share for each member, for [`crate::Config::share`]. Seal it at once.
    pub shares: Vec<(NodeId, Zeroizing<Vec<u8>>)>,
}

/// The members cannot be dealt to, or what was dealt cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DealError {
    /// Not an Ed25519 key.
    #[error("{0} is not an Ed25519 key")]
    Member(NodeId),
    /// One key twice, none at all, or too many.
    #[error("a committee has 1 to {MEMBERS_MAX} different members")]
    Members,
    /// The genesis is not one this code can use.
    #[error("the genesis does not hold a usable threshold key: {0}")]
    Genesis(&'static str),
    /// The share is not one of this genesis.
    #[error("the share of the network key is damaged or belongs to another network or node")]
    Share,
}

/// Deals a fresh key to `members`, in any order. Takes randomness from the operating system.
///
/// # Errors
/// [`DealError::Member`], [`DealError::Members`].
pub fn deal(members: &[NodeId]) -> Result<Dealing, DealError> {
    let set = committee(members)?;
    let (output, shares) = deal_shares::<MinSig, _, N3f1>(&mut sys_rng(), Mode::NonZeroCounter, set.clone())
        .map_err(|_| DealError::Members)?;
    let sharing = output.public();
    let network_key = Bytes96::from_slice(&sharing.public().encode()).ok_or(DealError::Members)?;
    let shares = set
        .iter()
        .zip(shares.values())
        .filter_map(|(key, share)| Some((NodeId::from_slice(key)?, Zeroizing::new(share.encode().to_vec()))))
        .collect();
    Ok(Dealing { network_key, sharing: Blob(sharing.encode().to_vec()), shares })
}

fn committee(members: &[NodeId]) -> Result<Set<ed25519::PublicKey>, DealError> {
    let keys = members.iter().map(|member| public_key(member).ok_or(DealError::Member(*member)));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() || keys.len() > MEMBERS_MAX.get() as usize {
        return Err(DealError::Members);
    }
    keys.into_iter().try_collect().map_err(|_| DealError::Members)
}

/// The committee of a genesis, in the engine's order, and the signing scheme of the member that holds `share`.
pub(crate) fn signer(genesis: &Genesis, share: &[u8]) -> Result<(Set<ed25519::PublicKey>, Scheme), DealError> {
    let members: Vec<_> = genesis.validators.iter().map(|validator| validator.node).collect();
    let set = committee(&members)?;
    let sharing = Bytes::copy_from_slice(&genesis.sharing.0);
    let sharing = Sharing::<MinSig>::decode_cfg(sharing, &(MEMBERS_MAX, ModeVersion::v0()))
        .map_err(|_| DealError::Genesis("its polynomial cannot be read"))?;
    if sharing.total().get() as usize != set.len() {
        return Err(DealError::Genesis("its polynomial is for another number of members"));
    }
    if sharing.public().encode()[..] != genesis.network_key.0 {
        return Err(DealError::Genesis("its polynomial is for another network key"));
    }
    let share = Share::decode(Bytes::copy_from_slice(share)).map_err(|_| DealError::Share)?;
    if sharing.partial_public(share.index).is_err() {
        return Err(DealError::Share);
    }
    let namespace = engine::namespace(&genesis.network_id());
    let scheme = Scheme::signer(&namespace, set.clone(), sharing, share).ok_or(DealError::Share)?;
    Ok((set, scheme))
}

//! Deposits: an owner deals the shares of an object's key, each sealed to one custodian.

use std::collections::BTreeSet;

use model::{
    BadSignature, Blob, Canonical as _, Custodian, Deposit, DepositAck, Digest, Manifest, NetworkId, NodeId, Signed,
    api::DepositRequest,
};

use crate::{
    AccountKey, ContentKey, NoRandomness, NodeIdentity, OpenError, Share,
    derive::system_rng,
    share::{SHARE_BYTES, share_info, split},
    wrap::{OVERHEAD_BYTES, WrapError, seal_to},
};

/// Most holders of one key.
pub const HOLDERS_MAX: usize = 16;
/// Bytes of a share sealed to its custodian.
pub const SEALED_SHARE_BYTES: usize = OVERHEAD_BYTES + SHARE_BYTES;

/// A node that is to hold a share. The caller has checked its registration and its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which node.
    pub node: NodeId,
    /// Its registered X-Wing key.
    pub sealing_key: Blob,
}

/// Why a deposit was not made or not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DepositError {
    /// The depositor's fault.
    #[error("this deposit is not well formed: {0}")]
    Malformed(&'static str),
    /// The depositor's fault: nobody but its owner may publish an object or say who holds its key.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// The depositor's fault.
    #[error("the key is not the one that the manifest's seal commits to")]
    Key(#[source] OpenError),
    /// The custodian's registration is at fault.
    #[error("the sealing key registered for {node} is not an X-Wing key")]
    SealingKey {
        /// Whose.
        node: NodeId,
    },
    /// Sent to the wrong node, or for keys it no longer has.
    #[error("share {index} of this deposit is not for this node")]
    NotForThisNode {
        /// Which share was named.
        index: u8,
    },
    /// The depositor's fault.
    #[error("share {index} does not open: it was sealed for another key, deposit or index")]
    DoesNotOpen {
        /// Which.
        index: u8,
    },
    /// The depositor's fault.
    #[error("share {index} is not the one that the deposit commits to")]
    WrongShare {
        /// Which.
        index: u8,
    },
    /// A custodian's fault: its word is missing, for another deposit, or not its own.
    #[error("custodian {node} has not acknowledged this deposit")]
    NotAcknowledged {
        /// Which.
        node: NodeId,
    },
    /// This machine's fault.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Splits `key` for `holders`, any `threshold` of whom can give it back, and seals each share to its holder. The answer has
/// one request for each holder, in order; all carry the same deposit, signed by `owner`, whose manifest it must be.
/// Randomness comes from the operating system.
///
/// # Errors
/// [`DepositError`]; nothing was sent then.
pub fn split_deposit(
    network: &NetworkId,
    owner: &AccountKey,
    manifest: &Signed<Manifest>,
    key: &ContentKey,
    epoch: u32,
    threshold: u8,
    holders: &[Holder],
) -> Result<Vec<DepositRequest>, DepositError> {
    let body = manifest.verify(network)?;
    key.check(&body.seal).map_err(DepositError::Key)?;
    let count = holder_count(holders.len())?;
    let mut rng = system_rng()?;
    let shares =
        split(key, threshold, count, &mut rng).ok_or(DepositError::Malformed("no such threshold among its holders"))?;
    let object = manifest.object_id();
    let custodians = holders.iter().zip(&shares).map(|(holder, share)| Custodian {
        node: holder.node,
        sealing_key: Digest::of(&holder.sealing_key.0),
        commitment: share.commitment(network, &object, &body.owner, epoch),
    });
    let deposit = Deposit { object, owner: body.owner, epoch, threshold, custodians: custodians.collect() };
    let signed = owner.sign(network, deposit);
    let deposit = check_deposit(network, manifest, &signed)?;

    let seal_one = |(holder, share): (&Holder, &Share)| {
        let info = share_info(network, deposit, share.index());
        let sealed_share =
            seal_to(&holder.sealing_key.0, &info, share.expose(), &mut rng).map_err(|cause| match cause {
                WrapError::NoRandomness(cause) => DepositError::NoRandomness(cause),
                _ => DepositError::SealingKey { node: holder.node },
            })?;
        let (manifest, deposit) = (manifest.clone(), signed.clone());
        Ok(DepositRequest { manifest, deposit, index: share.index(), sealed_share })
    };
    holders.iter().zip(&shares).map(seal_one).collect()
}

/// The deposit, if `manifest`'s owner made it and it is possible: same object, same owner, distinct holders, a threshold
/// among them.
///
/// # Errors
/// [`DepositError::Signature`], [`DepositError::Malformed`].
pub fn check_deposit<'a>(
    network: &NetworkId,
    manifest: &Signed<Manifest>,
    deposit: &'a Signed<Deposit>,
) -> Result<&'a Deposit, DepositError> {
    let owner = manifest.verify(network)?.owner;
    let deposit = deposit.verify(network)?;
    let count = holder_count(deposit.custodians.len())?;
    let nodes: BTreeSet<_> = deposit.custodians.iter().map(|holder| holder.node).collect();
    let keys: BTreeSet<_> = deposit.custodians.iter().map(|holder| holder.sealing_key).collect();
    let complaint = if deposit.object != manifest.object_id() {
        "it names another object than its manifest"
    } else if deposit.owner != owner {
        "it names another owner than its manifest"
    } else if deposit.epoch == 0 {
        "epochs count from 1"
    } else if deposit.threshold == 0 || deposit.threshold > count {
        "no such threshold among its holders"
    } else if nodes.len() != usize::from(count) || keys.len() != usize::from(count) {
        "a holder is named twice"
    } else {
        return Ok(deposit);
    };
    Err(DepositError::Malformed(complaint))
}

/// Opens the share that `request` has for this node, after checking everything about the deposit.
///
/// # Errors
/// [`DepositError`].
pub fn open_share(
    network: &NetworkId,
    identity: &NodeIdentity,
    request: &DepositRequest,
) -> Result<Share, DepositError> {
    let deposit = check_deposit(network, &request.manifest, &request.deposit)?;
    open_held(network, identity, deposit, request.index, &request.sealed_share)
}

/// Opens a share of a deposit that was checked before.
pub(crate) fn open_held(
    network: &NetworkId,
    identity: &NodeIdentity,
    deposit: &Deposit,
    index: u8,
    sealed_share: &Blob,
) -> Result<Share, DepositError> {
    let holder = usize::from(index).checked_sub(1).and_then(|at| deposit.custodians.get(at));
    let holder = holder
        .filter(|holder| holder.node == identity.node_id() && holder.sealing_key == identity.sealing_digest())
        .ok_or(DepositError::NotForThisNode { index })?;
    let info = share_info(network, deposit, index);
    let share = identity.sealing().open(&info, &sealed_share.0).ok();
    let share = share.and_then(|bytes| Share::new(index, &bytes)).ok_or(DepositError::DoesNotOpen { index })?;
    if share.matches(network, deposit, &holder.commitment) {
        Ok(share)
    } else {
        Err(DepositError::WrongShare { index })
    }
}

/// Whether every custodian has acknowledged `deposit`, in its order. An object must not be published before.
///
/// # Errors
/// [`DepositError::NotAcknowledged`] names the first who has not; [`DepositError::Malformed`] if there are too many.
pub fn check_acks(network: &NetworkId, deposit: &Deposit, acks: &[Signed<DepositAck>]) -> Result<(), DepositError> {
    if acks.len() > deposit.custodians.len() {
        return Err(DepositError::Malformed("it has more acknowledgements than holders"));
    }
    let digest = deposit.digest();
    for (position, holder) in deposit.custodians.iter().enumerate() {
        let acknowledged = acks.get(position).and_then(|ack| ack.verify(network).ok()).is_some_and(|ack| {
            ack.deposit == digest && usize::from(ack.index) == position + 1 && ack.custodian == holder.node
        });
        if !acknowledged {
            return Err(DepositError::NotAcknowledged { node: holder.node });
        }
    }
    Ok(())
}

fn holder_count(holders: usize) -> Result<u8, DepositError> {
    match u8::try_from(holders) {
        Ok(count) if count > 0 && holders <= HOLDERS_MAX => Ok(count),
        _ => Err(DepositError::Malformed("it needs 1 to 16 holders")),
    }
}

//! Shares of a content key: Shamir's scheme over GF(256), byte by byte, t of n.
//!
//! `vsss-rs` computes without tables that secrets index, so its timing shows nothing. Any t − 1 shares are independent of
//! the key. A share is committed to by a hash, never by a group element that a later quantum computer could open.

use chacha20::rand_core::CryptoRng;
use model::{AccountId, Canonical as _, Deposit, Digest, NetworkId, ObjectId, domain, domain_message};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use vsss_rs::Gf256;
use zeroize::Zeroizing;

use crate::{ContentKey, derive::Secret32};

/// Bytes of a share: as many as of the key.
pub(crate) const SHARE_BYTES: usize = 32;

/// One share of a content key. Wiped when dropped; it cannot be copied, printed or written by accident.
pub struct Share {
    /// Its position, from 1: where the polynomial was evaluated.
    index: u8,
    bytes: Secret32,
}

impl Share {
    pub(crate) fn new(index: u8, bytes: &[u8]) -> Option<Self> {
        Some(Self { index, bytes: Zeroizing::new(bytes.try_into().ok()?) })
    }

    /// Its position in the deposit, from 1.
    pub fn index(&self) -> u8 {
        self.index
    }

    pub(crate) fn expose(&self) -> &[u8; SHARE_BYTES] {
        &self.bytes
    }

    /// Whether this is the share that a holder's entry in the deposit commits to.
    pub(crate) fn matches(&self, network: &NetworkId, deposit: &Deposit, commitment: &Digest) -> bool {
        let own = self.commitment(network, &deposit.object, &deposit.owner, deposit.epoch);
        own.0.ct_eq(&commitment.0).into()
    }

    /// `H(domain "share-commitment", object, owner, epoch, index, share)`. A share is as random as the key, so its hash can be
    /// public.
    pub(crate) fn commitment(&self, network: &NetworkId, object: &ObjectId, owner: &AccountId, epoch: u32) -> Digest {
        Digest::of_parts(&[
            domain(network, "share-commitment").as_bytes(),
            &object.0.to_bytes(),
            &owner.0,
            &epoch.to_be_bytes(),
            &[self.index],
            self.expose(),
        ])
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share({}, secret)", self.index)
    }
}

/// What a sealed share is bound to: it opens for nothing else. The deposit's digest covers object, owner, epoch, threshold and
/// every holder with its key and commitment.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShareContext {
    deposit: Digest,
    index: u8,
}

/// HPKE info of the share with `index` in `deposit`.
pub(crate) fn share_info(network: &NetworkId, deposit: &Deposit, index: u8) -> Vec<u8> {
    domain_message(network, "share", &ShareContext { deposit: deposit.digest(), index }.to_bytes())
}

/// Splits `key` into `count` shares of which any `threshold` give it back. 1 <= threshold <= count <= 255.
pub(crate) fn split(key: &ContentKey, threshold: u8, count: u8, rng: &mut impl CryptoRng) -> Option<Vec<Share>> {
    if threshold == 0 || threshold > count {
        return None;
    }
    if threshold == 1 {
        // A polynomial of degree 0: every share is the key. The library starts at degree 1.
        return (1..=count).map(|index| Share::new(index, key.expose())).collect();
    }
    let shares = Gf256::split_bytes(usize::from(threshold), usize::from(count), key.expose(), rng).ok()?;
    let shares: Vec<Zeroizing<Vec<u8>>> = shares.into_iter().map(Zeroizing::new).collect();
    shares.iter().map(|share| share.split_first().and_then(|(index, bytes)| Share::new(*index, bytes))).collect()
}

/// The key behind exactly as many shares as the threshold says. Wrong shares give a wrong key: check it afterwards.
pub(crate) fn combine(shares: &[&Share]) -> Option<ContentKey> {
    let secret = match shares {
        [] => return None,
        [share] => share.bytes.clone(),
        shares => {
            let points: Zeroizing<Vec<Vec<u8>>> =
                Zeroizing::new(shares.iter().map(|share| [&[share.index], &share.bytes[..]].concat()).collect());
            let secret = Zeroizing::new(Gf256::combine_bytes(&*points).ok()?);
            Zeroizing::new(secret.as_slice().try_into().ok()?)
        }
    };
    Some(ContentKey::from_secret(secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::system_rng;

    fn key() -> ContentKey {
        ContentKey::from_secret(Zeroizing::new(std::array::from_fn(|i| i as u8)))
    }

    #[test]
    fn any_t_of_n_shares_give_the_key() {
        for (threshold, count) in [(1, 1), (1, 3), (2, 2), (2, 3), (3, 5), (16, 16)] {
            let shares = split(&key(), threshold, count, &mut system_rng().unwrap()).unwrap();
            assert_eq!(shares.len(), usize::from(count));
            for start in 0..count {
                let some: Vec<_> = (0..threshold).map(|i| &shares[usize::from((start + i) % count)]).collect();
                assert_eq!(combine(&some).unwrap().expose(), key().expose(), "{threshold} of {count}");
            }
        }
    }

    #[test]
    fn fewer_than_t_shares_give_another_key() {
        let shares = split(&key(), 3, 5, &mut system_rng().unwrap()).unwrap();
        assert!(combine(&[]).is_none());
        assert_ne!(combine(&[&shares[0]]).unwrap().expose(), key().expose());
        assert_ne!(combine(&[&shares[0], &shares[1]]).unwrap().expose(), key().expose());
    }

    #[test]
    fn shares_of_two_splits_do_not_combine() {
        let mut rng = system_rng().unwrap();
        let (old, new) = (split(&key(), 2, 3, &mut rng).unwrap(), split(&key(), 2, 3, &mut rng).unwrap());
        assert_ne!(combine(&[&old[0], &new[1]]).unwrap().expose(), key().expose());
        assert!(combine(&[&old[0], &new[0]]).is_none(), "the same index twice");
    }

    #[test]
    fn impossible_thresholds_are_refused() {
        let mut rng = system_rng().unwrap();
        assert!(split(&key(), 0, 3, &mut rng).is_none());
        assert!(split(&key(), 4, 3, &mut rng).is_none());
    }
}

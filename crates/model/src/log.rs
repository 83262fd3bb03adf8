//! The append-only log of records: a Merkle tree as in RFC 9162 (Certificate Transparency 2.0), section 2.
//!
//! Leaf data is the 32-byte digest of a record. A leaf is `H(00 ‖ data)`, a node `H(01 ‖ left ‖ right)`, and a list of n
//! leaves splits at the largest power of two below n. The same tree commits to lists of eligible nodes and to ciphertext
//! leaf hashes.
//!
//! * [`Frontier`] is what the ledger keeps to append: one digest per set bit of the size.
//! * [`Tree`] is what a node keeps to answer: all inner nodes, for any past size.
//! * [`check_many`], [`check_path`] and [`check_consistency`] are what a verifier runs.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Digest;

/// The hash of a leaf.
pub fn leaf_hash(data: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(data.0).finalize().into())
}

/// The hash of an inner node.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The root of the empty tree: `H("")`.
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// The right edge of a tree: enough to append and to know the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees, largest first: one per set bit of `size`.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether there is one peak per set bit; false for bytes nobody but an attacker writes.
    pub fn is_well_formed(&self) -> bool {
        self.peaks.len() == self.size.count_ones() as usize
    }

    /// Appends a leaf.
    pub fn append(&mut self, data: &Digest) {
        let mut hash = leaf_hash(data);
        let mut size = self.size;
        while size & 1 == 1 {
            // An odd size has a peak for its lowest bit.
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
            }
            size >>= 1;
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return empty_root() };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// All inner nodes of complete subtrees, for proofs at any size up to the present one. 64 bytes a leaf.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// `levels[h][i]` is the root of the complete subtree over leaves `i << h .. (i + 1) << h`.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// A tree over `data`.
    pub fn of(data: impl IntoIterator<Item = Digest>) -> Self {
        let mut tree = Self::default();
        for leaf in data {
            tree.append(&leaf);
        }
        tree
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Appends a leaf.
    pub fn append(&mut self, data: &Digest) {
        let mut hash = leaf_hash(data);
        for height in 0.. {
            if self.levels.len() == height {
                self.levels.push(Vec::new());
            }
            let level = &mut self.levels[height];
            level.push(hash);
            let count = level.len();
            if count % 2 == 1 {
                return;
            }
            hash = node_hash(&level[count - 2], &level[count - 1]);
        }
    }

    /// The root when the tree had `size` leaves; `None` if it never had.
    pub fn root(&self, size: u64) -> Option<Digest> {
        (size <= self.size()).then(|| if size == 0 { empty_root() } else { self.range(0, size) })
    }

    /// The hash of the subtree over leaves `start .. start + len`, with `start` a multiple of the power of two at or
    /// above `len`, as every subtree of the recursion is.
    fn range(&self, start: u64, len: u64) -> Digest {
        if len.is_power_of_two() {
            let height = len.trailing_zeros();
            return self.levels[height as usize][(start >> height) as usize];
        }
        let left = split(len);
        node_hash(&self.range(start, left), &self.range(start + left, len - left))
    }

    /// One proof for several leaves of the tree as it was at `size`; `indices` ascending. `None` if an index is outside.
    pub fn prove_many(&self, size: u64, indices: &[u64]) -> Option<Vec<Digest>> {
        let fits = size <= self.size() && indices.windows(2).all(|pair| pair[0] < pair[1]);
        if !fits || indices.last().is_none_or(|last| *last >= size) {
            return None;
        }
        let mut digests = Vec::new();
        self.prove_range(0, size, indices, &mut digests);
        Some(digests)
    }

    fn prove_range(&self, start: u64, len: u64, indices: &[u64], digests: &mut Vec<Digest>) {
        if indices.is_empty() {
            digests.push(self.range(start, len));
        } else if len > 1 {
            let left = split(len);
            let (in_left, in_right) = indices.split_at(indices.partition_point(|index| *index < start + left));
            self.prove_range(start, left, in_left, digests);
            self.prove_range(start + left, len - left, in_right, digests);
        }
    }

    /// The inclusion path of one leaf, leaf to root (RFC 9162, 2.1.3.1).
    pub fn prove_path(&self, size: u64, index: u64) -> Option<Vec<Digest>> {
        if size > self.size() || index >= size {
            return None;
        }
        let (mut start, mut len, mut path) = (0, size, Vec::new());
        while len > 1 {
            let left = split(len);
            if index < start + left {
                path.push(self.range(start + left, len - left));
                len = left;
            } else {
                path.push(self.range(start, left));
                start += left;
                len -= left;
            }
        }
        path.reverse();
        Some(path)
    }

    /// Shows that the tree of `old` leaves is a prefix of the tree of `new` leaves (RFC 9162, 2.1.4.1).
    pub fn prove_consistency(&self, old: u64, new: u64) -> Option<Vec<Digest>> {
        if old > new || new > self.size() {
            return None;
        }
        let mut digests = Vec::new();
        if old != 0 && old != new {
            self.prove_subtree(0, new, old, true, &mut digests);
        }
        Some(digests)
    }

    fn prove_subtree(&self, start: u64, len: u64, old: u64, whole: bool, digests: &mut Vec<Digest>) {
        if old == len {
            if !whole {
                digests.push(self.range(start, len));
            }
            return;
        }
        let left = split(len);
        if old <= left {
            self.prove_subtree(start, left, old, whole, digests);
            digests.push(self.range(start + left, len - left));
        } else {
            self.prove_subtree(start + left, len - left, old - left, false, digests);
            digests.push(self.range(start, left));
        }
    }
}

/// The largest power of two below `len`, for `len` of at least 2.
fn split(len: u64) -> u64 {
    1 << (63 - (len - 1).leading_zeros())
}

/// Checks a proof made by [`Tree::prove_many`]: `leaves` are (index, data), ascending and not empty.
///
/// Exactly one list of digests is accepted for a size and a set of indices.
pub fn check_many(root: &Digest, size: u64, leaves: &[(u64, Digest)], digests: &[Digest]) -> bool {
    let ascending = leaves.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if !ascending || leaves.last().is_none_or(|(last, _)| *last >= size) {
        return false;
    }
    let mut rest = digests.iter();
    fold_range(0, size, leaves, &mut rest) == Some(*root) && rest.next().is_none()
}

fn fold_range<'a>(
    start: u64,
    len: u64,
    leaves: &[(u64, Digest)],
    digests: &mut impl Iterator<Item = &'a Digest>,
) -> Option<Digest> {
    if leaves.is_empty() {
        return digests.next().copied();
    }
    if len == 1 {
        return Some(leaf_hash(&leaves[0].1));
    }
    let left = split(len);
    let (in_left, in_right) = leaves.split_at(leaves.partition_point(|(index, _)| *index < start + left));
    let left_hash = fold_range(start, left, in_left, digests)?;
    let right_hash = fold_range(start + left, len - left, in_right, digests)?;
    Some(node_hash(&left_hash, &right_hash))
}

/// Checks an inclusion path, leaf to root (RFC 9162, 2.1.3.2).
pub fn check_path(root: &Digest, size: u64, index: u64, data: &Digest, path: &[Digest]) -> bool {
    if index >= size {
        return false;
    }
    let (mut position, mut last, mut hash) = (index, size - 1, leaf_hash(data));
    for sibling in path {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            hash = node_hash(sibling, &hash);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Checks that a tree of `old_size` leaves with `old_root` is a prefix of one of `new_size` leaves with `new_root`
/// (RFC 9162, 2.1.4.2).
pub fn check_consistency(
    old_size: u64,
    old_root: &Digest,
    new_size: u64,
    new_root: &Digest,
    digests: &[Digest],
) -> bool {
    if old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return digests.is_empty() && old_root == new_root;
    }
    if old_size == 0 {
        return digests.is_empty() && *old_root == empty_root();
    }
    let mut rest = digests.iter();
    let first = if old_size.is_power_of_two() { Some(old_root) } else { rest.next() };
    let Some(first) = first else { return false };
    let (mut position, mut last) = (old_size - 1, new_size - 1);
    while position & 1 == 1 {
        position >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for digest in rest {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            old_hash = node_hash(digest, &old_hash);
            new_hash = node_hash(digest, &new_hash);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, digest);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(index: u64) -> Digest {
        Digest::of(&index.to_be_bytes())
    }

    fn tree(size: u64) -> Tree {
        Tree::of((0..size).map(data))
    }

    #[test]
    fn frontier_and_tree_agree_at_every_size() {
        let tree = tree(130);
        let mut frontier = Frontier::default();
        for size in 0..=130 {
            assert_eq!(Some(frontier.root()), tree.root(size), "size {size}");
            assert!(frontier.is_well_formed());
            frontier.append(&data(size));
        }
    }

    #[test]
    fn every_path_verifies_and_no_other_leaf_does() {
        for size in 1..=33 {
            let tree = tree(size);
            let root = tree.root(size).unwrap();
            for index in 0..size {
                let path = tree.prove_path(size, index).unwrap();
                assert!(check_path(&root, size, index, &data(index), &path));
                assert!(!check_path(&root, size, index, &data(index + 1), &path));
                assert!(!check_path(&root, size, (index + 1) % size, &data(index), &path) || size == 1);
                let mut longer = path.clone();
                longer.push(root);
                assert!(!check_path(&root, size, index, &data(index), &longer));
            }
        }
    }

    #[test]
    fn proofs_of_many_leaves_verify_at_past_sizes_and_break_when_touched() {
        let tree = tree(70);
        for size in [1, 2, 3, 7, 8, 21, 64, 70] {
            let root = tree.root(size).unwrap();
            for step in [1, 2, 3, 5, 13] {
                let indices: Vec<u64> = (0..size).step_by(step).collect();
                let digests = tree.prove_many(size, &indices).unwrap();
                let leaves: Vec<_> = indices.iter().map(|index| (*index, data(*index))).collect();
                assert!(check_many(&root, size, &leaves, &digests));

                let mut other = leaves.clone();
                other[0].1 = data(1000);
                assert!(!check_many(&root, size, &other, &digests));
                if !digests.is_empty() {
                    assert!(!check_many(&root, size, &leaves, &digests[1..]));
                }
                let mut longer = digests.clone();
                longer.push(root);
                assert!(!check_many(&root, size, &leaves, &longer));
            }
        }
        assert_eq!(tree.prove_many(70, &[]), None);
        assert_eq!(tree.prove_many(70, &[70]), None);
        assert_eq!(tree.prove_many(70, &[3, 3]), None);
        assert!(!check_many(&tree.root(70).unwrap(), 70, &[], &[tree.root(70).unwrap()]));
    }

    #[test]
    fn growth_is_consistent_and_rewriting_is_not() {
        let tree = tree(40);
        let mut rewritten = Tree::of((0..40).map(|index| if index == 5 { data(999) } else { data(index) }));
        rewritten.append(&data(40));
        for old in 0..=40 {
            for new in old..=40 {
                let (old_root, new_root) = (tree.root(old).unwrap(), tree.root(new).unwrap());
                let digests = tree.prove_consistency(old, new).unwrap();
                assert!(check_consistency(old, &old_root, new, &new_root, &digests), "{old} {new}");
                if old > 5 {
                    let forged = rewritten.prove_consistency(old, new).unwrap();
                    let forged_root = rewritten.root(new).unwrap();
                    assert!(!check_consistency(old, &old_root, new, &forged_root, &forged), "{old} {new}");
                }
            }
        }
    }
}

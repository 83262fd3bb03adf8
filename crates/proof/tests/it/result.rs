//! The files of a result, bound to the receipt.

use hmac::{Hmac, KeyInit as _, Mac as _};
use model::{log::Tree, *};
use proof::{Link, ResultOpening, check_result};
use sha2::{Digest as _, Sha256};

use crate::{
    interop::verify,
    story::{Story, result},
};

const CHUNK: usize = (1 << 20) - 16;

/// The commitment, computed the long way from the specification.
fn root(leaf_key: &[u8; 32], padded: &[u8]) -> Digest {
    let leaves = padded.chunks(CHUNK).zip(0u64..).map(|(chunk, index)| {
        let mut salt = Hmac::<Sha256>::new_from_slice(leaf_key).unwrap();
        salt.update(&index.to_be_bytes());
        let salt = salt.finalize().into_bytes();
        let whole = [b"samovar/v1/leaf".as_slice(), &index.to_be_bytes(), &salt, chunk].concat();
        model::Digest(Sha256::digest(whole).into())
    });
    let tree = Tree::of(leaves.collect::<Vec<_>>());
    tree.root(tree.size()).unwrap()
}

fn check(archive: &[u8], padded_bytes: usize) {
    let leaf_key = [6; 32];
    let mut padded = archive.to_vec();
    padded.resize(padded_bytes, 0);
    let chunks = padded.len().div_ceil(CHUNK) as u64;
    let sealed = result(root(&leaf_key, &padded), chunks);
    let story = Story::letting_out(1 << 20, Outcome::Done(Box::new(sealed)));
    let verified = verify(&story.bytes(), &story.file()).unwrap();
    let opening = ResultOpening { length: archive.len() as u64, leaf_key: Bytes32(leaf_key) };
    check_result(&verified, &opening, archive).unwrap();

    let refused = |opening: &ResultOpening, archive: &[u8]| {
        let error = check_result(&verified, opening, archive).unwrap_err();
        assert_eq!(error.link(), Link::Result);
    };
    for position in [0, archive.len() / 2, archive.len() - 1] {
        let mut other = archive.to_vec();
        other[position] ^= 1;
        refused(&opening, &other);
    }
    refused(&opening, &archive[1..]);
    refused(&ResultOpening { leaf_key: Bytes32([7; 32]), ..opening }, archive);
    // Other lengths that pad to the same bytes are the same commitment only with the same zeros: the length is ours to say,
    // the bytes are not.
    let longer = [archive, &[1]].concat();
    refused(&ResultOpening { length: longer.len() as u64, ..opening }, &longer);
}

#[test]
fn the_files_of_a_result_are_bound_to_the_receipt() {
    check(b"a small result", 4096);
    check(&vec![9; 5000], 5120);
    check(&vec![9; 1_100_000], 1_114_112);
}

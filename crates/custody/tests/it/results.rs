//! Results: sealed to the requester of one task, by one executor, on one network.

use custody::{
    AccountKey, ResultArchive, ResultError, ResultFile, ResultOrigin, SealedResult, open_result, result_opener,
    seal_result,
};
use model::{Blob, ContentId, NetworkId, ResultSeal, TaskId};

use crate::world::{NETWORK, stranger};

fn archive() -> ResultArchive {
    let file = |path: &str| ResultFile { path: path.into(), bytes: Blob(path.as_bytes().to_vec()) };
    ResultArchive {
        exit_code: 3,
        stdout: Blob(b"accuracy 0.97".to_vec()),
        stderr: Blob(b"warning".to_vec()),
        files: vec![file("model.json"), file("plots/roc.csv")],
    }
}

fn origin() -> ResultOrigin {
    ResultOrigin { network: NETWORK, task: TaskId([5; 32]), executor: stranger().node_id() }
}

fn published(sealed: &SealedResult) -> ResultSeal {
    ResultSeal {
        ciphertext: ContentId::of_raw(&sealed.ciphertext),
        ciphertext_bytes: sealed.sealed.ciphertext_bytes,
        leaves: ContentId::of_raw(&sealed.sealed.leaves),
        seal: sealed.sealed.seal.clone(),
        wrapped_key: sealed.wrapped_key.clone(),
    }
}

#[test]
fn the_requester_opens_its_result() {
    let requester = AccountKey::generate().unwrap();
    let result_key = requester.result_key(&NETWORK);
    let sealed = seal_result(&origin(), &result_key.public(), &archive()).unwrap();
    let result = published(&sealed);
    // With a key derived again, as `samovar fetch` does.
    let opener = result_opener(&origin(), &requester.result_key(&NETWORK), &result, &sealed.sealed.leaves).unwrap();
    let opened = open_result(&opener, sealed.ciphertext.as_slice(), 1 << 20).unwrap();
    assert!(opened == archive());
}

#[test]
fn nobody_else_does() {
    let (requester, other) = (AccountKey::generate().unwrap(), AccountKey::generate().unwrap());
    let sealed = seal_result(&origin(), &requester.result_key(&NETWORK).public(), &archive()).unwrap();
    let result = published(&sealed);
    let refused = |origin: ResultOrigin, account: &AccountKey| {
        let opened = result_opener(&origin, &account.result_key(&NETWORK), &result, &sealed.sealed.leaves);
        assert!(matches!(opened, Err(ResultError::WrappedKey)));
    };
    refused(origin(), &other);
    refused(ResultOrigin { task: TaskId([6; 32]), ..origin() }, &requester);
    refused(ResultOrigin { executor: requester.account(), ..origin() }, &requester);
    refused(ResultOrigin { network: NetworkId([1; 32]), ..origin() }, &requester);
}

#[test]
fn a_wrapped_key_is_bound_to_its_ciphertext() {
    let requester = AccountKey::generate().unwrap();
    let key = requester.result_key(&NETWORK);
    let (one, two) = (
        seal_result(&origin(), &key.public(), &archive()).unwrap(),
        seal_result(&origin(), &key.public(), &archive()).unwrap(),
    );
    let mixed = ResultSeal { wrapped_key: two.wrapped_key, ..published(&one) };
    let opened = result_opener(&origin(), &key, &mixed, &one.sealed.leaves);
    assert!(matches!(opened, Err(ResultError::WrappedKey)));
}

#[test]
fn a_changed_result_does_not_open() {
    let key = AccountKey::generate().unwrap().result_key(&NETWORK);
    let sealed = seal_result(&origin(), &key.public(), &archive()).unwrap();
    let opener = result_opener(&origin(), &key, &published(&sealed), &sealed.sealed.leaves).unwrap();
    for at in [0, 100, sealed.ciphertext.len() - 1] {
        let mut changed = sealed.ciphertext.clone();
        changed[at] ^= 1;
        assert!(matches!(open_result(&opener, changed.as_slice(), 1 << 20), Err(ResultError::Open(_))));
    }
}

#[test]
fn a_result_longer_than_expected_is_refused_before_it_is_read() {
    let key = AccountKey::generate().unwrap().result_key(&NETWORK);
    let sealed = seal_result(&origin(), &key.public(), &archive()).unwrap();
    let opener = result_opener(&origin(), &key, &published(&sealed), &sealed.sealed.leaves).unwrap();
    assert!(matches!(open_result(&opener, std::io::empty(), 10), Err(ResultError::Archive(_))));
}

#[test]
fn a_task_whose_result_key_is_none_gets_no_result() {
    let sealed = seal_result(&origin(), &Blob(vec![1, 2, 3]), &archive());
    assert!(matches!(sealed, Err(ResultError::ResultKey)));
}

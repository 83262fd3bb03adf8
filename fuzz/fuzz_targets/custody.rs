//! Custody's messages, result archives and sealed objects, which come from machines one does not control.
#![no_main]

use std::sync::LazyLock;

use custody::{
    ContentKey, Opener, ResultArchive, ResultFile, Sealed, seal_bytes,
    wire::{FromCustodian, Hello, ReleasedShare, ToCustodian},
};
use libfuzzer_sys::fuzz_target;
use model::{Blob, Bytes32, Canonical, Fact, ReleaseRequest, Seal};
use samovar_fuzz::{STORY, changed, check_canonical, halves, input};

static VALUES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let records = STORY.all_records();
    let assignment = records.iter().find_map(|record| match &record.fact {
        Fact::Assignment(assignment) => Some((assignment, record.digest())),
        _ => None,
    });
    let (assignment, digest) = assignment.expect("the story assigns its task");
    let releases = STORY.transactions().into_iter().find_map(|signed| match signed.into_unverified().action {
        model::Action::Complete(completion) => Some(completion.releases),
        _ => None,
    });
    let shares = releases.expect("the story completes its task").into_iter();
    let shares = shares.map(|release| ReleasedShare { release, sealed_share: Blob(vec![8; 1200]) }).collect();
    let (task, attempt, executor) = (assignment.task, assignment.attempt, assignment.executor);
    let request = ReleaseRequest {
        task,
        attempt,
        assignment: digest,
        executor,
        custodian: executor,
        ephemeral_key: Blob(vec![9; 1216]),
        nonce: Bytes32([1; 32]),
    };
    let file = |path: &str| ResultFile { path: path.into(), bytes: Blob(vec![1; 9]) };
    let files = vec![file("a"), file("b/c"), file("b/d/e")];
    let archive = ResultArchive { exit_code: 0, stdout: Blob(vec![2; 9]), stderr: Blob(vec![]), files };
    vec![
        ToCustodian::Hello(Hello { task, attempt, executor }).to_bytes(),
        ToCustodian::Request(Box::new(STORY.sign(request).expect("a node of the story"))).to_bytes(),
        FromCustodian::Nonce(Bytes32([1; 32])).to_bytes(),
        FromCustodian::Released(shares).to_bytes(),
        FromCustodian::Refused { rule: "R1".into(), reason: "no".into() }.to_bytes(),
        archive.to_bytes(),
    ]
});

struct Object {
    key: ContentKey,
    ciphertext: Vec<u8>,
    sealed: Sealed,
    plaintext: Vec<u8>,
}

static OBJECT: LazyLock<Object> = LazyLock::new(|| {
    let plaintext = b"what nobody else may read".repeat(40);
    let key = ContentKey::generate().expect("there is randomness");
    let (ciphertext, sealed) = seal_bytes(&plaintext, &key).expect("it is small");
    Object { key, ciphertext, sealed, plaintext }
});

/// Whatever was changed, an object opens to what was sealed or not at all.
fn objects(part: u8, changes: &[u8]) {
    let (one, other) = halves(changes);
    let (mut seal, mut leaves, mut ciphertext) = (&[][..], &[][..], &[][..]);
    match part % 4 {
        0 => (seal, leaves) = (one, other),
        1 => (leaves, ciphertext) = (one, other),
        2 => (seal, ciphertext) = (one, other),
        _ => ciphertext = changes,
    }
    let Ok(seal) = Seal::from_bytes(&changed(&OBJECT.sealed.seal.to_bytes(), seal), 1 << 20) else { return };
    let Ok(opener) = Opener::new(&OBJECT.key, &seal, &changed(&OBJECT.sealed.leaves, leaves)) else { return };
    let mut plaintext = Vec::new();
    if opener.open_all(&changed(&OBJECT.ciphertext, ciphertext)[..], &mut plaintext).is_ok() {
        assert!(plaintext == OBJECT.plaintext, "it opens to something else");
    }
}

fuzz_target!(|bytes: &[u8]| match bytes.split_first() {
    Some((part @ 192.., changes)) => objects(*part, changes),
    Some((_, rest)) => {
        let bytes = &input(&VALUES, rest);
        check_canonical::<ToCustodian>(bytes);
        check_canonical::<FromCustodian>(bytes);
        if let Ok(archive) = ResultArchive::decode(bytes, 1 << 20) {
            assert_eq!(archive.to_bytes(), **bytes);
            let inside = |path: &str| path.split('/').all(|name| !matches!(name, "" | "." | ".."));
            assert!(archive.files.iter().all(|file| inside(&file.path)), "a path that leads outside");
        }
    }
    None => {}
});

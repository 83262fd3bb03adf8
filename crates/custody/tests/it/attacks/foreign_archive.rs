//! A malicious executor seals a result that would write outside the requester's folder, or is not the only form of itself.

use custody::{ArchiveError, ResultArchive, ResultFile};
use model::{Blob, Canonical as _};

fn archive(paths: &[&str]) -> ResultArchive {
    let file = |path: &&str| ResultFile { path: (*path).to_owned(), bytes: Blob(b"x".to_vec()) };
    ResultArchive { exit_code: 0, stdout: Blob(vec![]), stderr: Blob(vec![]), files: paths.iter().map(file).collect() }
}

#[test]
fn paths_that_lead_outside_are_refused() {
    for path in ["", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "a/", "./a", "a/.", "a\\b", "a\0b", "a\nb"] {
        let bytes = archive(&[path]).to_bytes();
        assert!(matches!(ResultArchive::decode(&bytes, 4096), Err(ArchiveError::Path(_))), "{path:?}");
        assert!(archive(&[path]).encode().is_err());
    }
    let long = "a".repeat(1025);
    assert!(matches!(archive(&[&long]).encode(), Err(ArchiveError::Path(_))));
}

#[test]
fn files_out_of_order_twice_or_inside_each_other_are_refused() {
    for paths in [&["b", "a"][..], &["a", "a"], &["a", "a/b"], &["a", "a-b", "a/b/c"]] {
        let bytes = archive(paths).to_bytes();
        assert!(matches!(ResultArchive::decode(&bytes, 4096), Err(ArchiveError::Order(_))), "{paths:?}");
    }
    let fine = archive(&["a", "b/c", "b/d/e", "ä.csv"]);
    let bytes = fine.encode().unwrap();
    assert!(ResultArchive::decode(&bytes, bytes.len()).unwrap() == fine);
}

#[test]
fn other_encodings_of_the_same_archive_are_refused() {
    let bytes = archive(&["a"]).encode().unwrap();
    assert!(ResultArchive::decode(&[bytes.as_slice(), &[0]].concat(), 4096).is_err());
    assert!(ResultArchive::decode(&bytes[..bytes.len() - 1], 4096).is_err());
    assert!(matches!(ResultArchive::decode(&bytes, bytes.len() - 1), Err(ArchiveError::Encoding(_))));
}

#[test]
fn too_many_files_are_refused() {
    let names: Vec<String> = (0..65_537).map(|number| format!("{number:06}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(matches!(archive(&names).encode(), Err(ArchiveError::TooManyFiles(65_537))));
}

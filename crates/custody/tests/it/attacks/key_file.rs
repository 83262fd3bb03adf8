//! Other users of a machine want an account key, or somebody edits its file.

use std::{fs, os::unix::fs::PermissionsExt as _};

use custody::{AccountKey, KeyFileError};

#[test]
fn key_files_are_private_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("account.key");
    let key = AccountKey::generate().unwrap();
    key.save(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(AccountKey::load(&file).unwrap().account(), key.account());

    let other = AccountKey::generate().unwrap();
    assert!(matches!(other.save(&file), Err(KeyFileError::Exists(_))));
    assert_eq!(AccountKey::load(&file).unwrap().account(), key.account());

    // Not through a dangling link either.
    let link = folder.path().join("link.key");
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).unwrap();
    assert!(matches!(other.save(&link), Err(KeyFileError::Exists(_))));
}

#[test]
fn key_files_that_others_can_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("account.key");
    AccountKey::generate().unwrap().save(&file).unwrap();
    for mode in [0o644, 0o640, 0o604, 0o660, 0o602, 0o610] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let error = AccountKey::load(&file).unwrap_err();
        assert!(matches!(error, KeyFileError::TooOpen { .. }), "{mode:o}");
        assert!(error.to_string().contains("chmod 600"), "it says what to do");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    AccountKey::load(&file).unwrap();
}

#[test]
fn damaged_key_files_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("account.key");
    AccountKey::generate().unwrap().save(&file).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let swapped_digit = {
        let digit = if lines[2].starts_with('0') { "1" } else { "0" };
        format!("{}\n{}\n{digit}{}\n", lines[0], lines[1], &lines[2][1..])
    };
    let cases = [
        (String::new(), "first line"),
        ("-----BEGIN PRIVATE KEY-----\n".into(), "first line"),
        (format!("{}\nnobody\n{}\n", lines[0], lines[2]), "second line"),
        (format!("{}\n{}\n", lines[0], lines[1]), "third line"),
        (format!("{}\n{}\n{}\n", lines[0], lines[1], &lines[2][2..]), "third line"),
        (format!("{text}and more\n"), "more than three lines"),
        (swapped_digit, "damaged"),
        ("x".repeat(2000), "too long"),
    ];
    for (text, reason) in cases {
        fs::write(&file, text).unwrap();
        let error = AccountKey::load(&file).unwrap_err();
        assert!(matches!(error, KeyFileError::Malformed { .. }) && error.to_string().contains(reason), "{error}");
    }
    fs::write(&file, [0xff, 0xfe]).unwrap();
    assert!(AccountKey::load(&file).unwrap_err().to_string().contains("not text"));
    assert!(matches!(AccountKey::load(&folder.path().join("none")), Err(KeyFileError::Io { .. })));
}

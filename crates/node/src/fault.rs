//! What an operator can do about an error of the system below: the same advice wherever the error came up.

use std::{error::Error, io};

/// Advice for the first error of the operating system behind `error`, if it is one that operators can mend.
pub(crate) fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(advice) = error.downcast_ref::<io::Error>().and_then(|cause| advice_for(cause.kind())) {
            return Some(advice);
        }
        next = error.source();
    }
    None
}

fn advice_for(kind: io::ErrorKind) -> Option<&'static str> {
    use io::ErrorKind::{
        AddrInUse, AddrNotAvailable, AlreadyExists, IsADirectory, NotADirectory, PermissionDenied, QuotaExceeded,
        ReadOnlyFilesystem, StorageFull,
    };
    Some(match kind {
        AddrInUse => "is this node, or something else, listening there already? [listen] in node.toml says where",
        AddrNotAvailable => "this machine does not have that address; [listen] in node.toml says where to listen",
        PermissionDenied => "may this user read and write there? start the node as the owner of its folder",
        ReadOnlyFilesystem => "the disk can only be read; mount it for writing",
        StorageFull | QuotaExceeded => "the disk is full; make room, then start the node again: nothing is lost",
        AlreadyExists | NotADirectory => "what should be a folder is a file; does node.toml name the right place?",
        IsADirectory => "what should be a file is a folder; does node.toml name the right place?",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outside")]
    struct Outside(#[source] io::Error);

    #[test]
    fn operators_are_told_what_they_can_mend_however_deep_it_lies() {
        let about = |kind: io::ErrorKind| advice(&Outside(kind.into())).unwrap_or_default();
        assert!(about(io::ErrorKind::StorageFull).contains("make room"));
        assert!(about(io::ErrorKind::AddrInUse).contains("already"));
        assert!(about(io::ErrorKind::PermissionDenied).contains("this user"));
        assert!(about(io::ErrorKind::ReadOnlyFilesystem).contains("writing"));
        assert_eq!(advice(&Outside(io::ErrorKind::Other.into())), None);
    }
}

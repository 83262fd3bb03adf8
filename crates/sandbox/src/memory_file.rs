//! Files that exist in memory only: how a module, its native code and chunks of data go from process to process.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use rustix::io::{Errno, pread, pwrite};

/// Nobody can change the content any more, whoever holds the descriptor.
const FROZEN: SealFlags = SealFlags::SEAL.union(SealFlags::WRITE).union(SealFlags::GROW).union(SealFlags::SHRINK);

/// An empty file of `bytes` zeros that can be written but not resized.
pub(crate) fn buffer(name: &str, bytes: u64) -> Result<OwnedFd, Errno> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, bytes)?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file)
}

/// An empty file for [`freeze`].
pub(crate) fn empty(name: &str) -> Result<OwnedFd, Errno> {
    memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
}

/// Writes `bytes` to an empty file and makes it unchangeable.
pub(crate) fn freeze(file: impl AsFd, bytes: &[u8]) -> Result<(), Errno> {
    write_at(&file, bytes, 0)?;
    fcntl_add_seals(&file, FROZEN)
}

/// The file's length, if nobody can change it any more.
pub(crate) fn frozen_length(file: impl AsFd) -> Result<Option<u64>, Errno> {
    if !fcntl_get_seals(&file)?.contains(FROZEN) {
        return Ok(None);
    }
    Ok(u64::try_from(fstat(&file)?.st_size).ok())
}

pub(crate) fn write_at(file: impl AsFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = pwrite(&file, bytes, offset)?;
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

pub(crate) fn read_at(file: impl AsFd, mut into: &mut [u8], mut offset: u64) -> Result<(), Errno> {
    while !into.is_empty() {
        let read = pread(&file, &mut *into, offset)?;
        if read == 0 {
            return Err(Errno::NODATA);
        }
        into = &mut into[read..];
        offset += read as u64;
    }
    Ok(())
}

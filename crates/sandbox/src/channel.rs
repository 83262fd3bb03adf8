//! One end of a socket between parent and child. A packet is a message: the kernel keeps the boundaries.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of a message, well below the kernel's default socket buffer.
pub(crate) const MESSAGE_BYTES_MAX: usize = 128 << 10;

/// Most descriptors that a message carries.
const DESCRIPTORS_MAX: usize = 2;

pub(crate) struct Channel {
    socket: OwnedFd,
    received: Vec<u8>,
}

/// Why no message went through.
#[derive(Debug)]
pub(crate) enum ChannelError {
    /// The other side has gone.
    Closed,
    /// Not within the time given.
    TimedOut,
    /// What came is no message.
    Malformed,
    /// The kernel refused.
    System(Errno),
}

impl Channel {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, received: vec![0; MESSAGE_BYTES_MAX] }
    }

    /// Both ends of a new socket; neither is inherited by a child unless given to it.
    pub(crate) fn pair() -> Result<(Self, OwnedFd), Errno> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self::new(ours), theirs))
    }

    /// Bounds how long each later call waits; `None` waits for ever.
    pub(crate) fn wait_at_most(&self, time: Option<Duration>) -> Result<(), ChannelError> {
        // The kernel takes zero for "for ever".
        let time = time.map(|time| time.max(Duration::from_millis(1)));
        set_socket_timeout(&self.socket, Timeout::Recv, time)?;
        set_socket_timeout(&self.socket, Timeout::Send, time)?;
        Ok(())
    }

    pub(crate) fn send(&self, message: &impl Serialize) -> Result<(), ChannelError> {
        let bytes = encode(message)?;
        retry(|| send(&self.socket, &bytes, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    pub(crate) fn send_with(&self, message: &impl Serialize, files: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        let bytes = encode(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(ChannelError::Malformed);
        }
        retry(|| sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// The next message. Descriptors that came with it are dropped by the kernel.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ChannelError> {
        let (_, length) = retry(|| recv(&self.socket, &mut self.received[..], RecvFlags::TRUNC))?;
        self.decode(length)
    }

    /// The next message and the descriptors that came with it.
    pub(crate) fn receive_with<T: DeserializeOwned>(&mut self) -> Result<(T, Vec<OwnedFd>), ChannelError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::TRUNC;
        let length =
            retry(|| recvmsg(&self.socket, &mut [IoSliceMut::new(&mut self.received)], &mut ancillary, flags))?.bytes;
        let files = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(files) => Some(files),
                _ => None,
            })
            .flatten()
            .collect();
        Ok((self.decode(length)?, files))
    }

    fn decode<T: DeserializeOwned>(&self, length: usize) -> Result<T, ChannelError> {
        if length == 0 {
            return Err(ChannelError::Closed);
        }
        let bytes = self.received.get(..length).ok_or(ChannelError::Malformed)?;
        serde_ipld_dagcbor::from_slice(bytes).map_err(|_| ChannelError::Malformed)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<Errno> for ChannelError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::AGAIN => Self::TimedOut,
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            other => Self::System(other),
        }
    }
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>, ChannelError> {
    let bytes = serde_ipld_dagcbor::to_vec(message).map_err(|_| ChannelError::Malformed)?;
    if bytes.len() > MESSAGE_BYTES_MAX { Err(ChannelError::Malformed) } else { Ok(bytes) }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

//! How bytes reach a TPM.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use zeroize::Zeroizing;

/// Most bytes of a command or a response (part 2, TPM2_MAX_COMMAND_SIZE).
pub const FRAME_BYTES_MAX: usize = 4096;
/// Tag, size and code.
pub(crate) const HEADER_BYTES: usize = 10;

/// A TPM gives up nothing this slow; a hung one must not hang the node.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// Sends one command and waits for its response.
pub trait Transport {
    /// The whole response, header included.
    ///
    /// # Errors
    /// The I/O error, or one of kind `InvalidData` if the response's length is out of bounds.
    fn exchange(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>>;
}

/// A software TPM behind a socket: the header says how long a response is.
#[derive(Debug)]
pub struct Stream(UnixStream);

impl Stream {
    /// Takes a connected socket.
    ///
    /// # Errors
    /// If the socket takes no time limit.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        socket.set_write_timeout(Some(ANSWER_TIME_MAX))?;
        Ok(Self(socket))
    }
}

impl Transport for Stream {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        self.0.write_all(command)?;
        read_frame(&mut self.0)
    }
}

fn read_frame(from: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut header = [0; HEADER_BYTES];
    from.read_exact(&mut header)?;
    let bytes = u32::from_be_bytes([header[2], header[3], header[4], header[5]]) as usize;
    if !(HEADER_BYTES..=FRAME_BYTES_MAX).contains(&bytes) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the TPM announces {bytes} bytes")));
    }
    let mut frame = Zeroizing::new(vec![0; bytes]);
    frame[..HEADER_BYTES].copy_from_slice(&header);
    from.read_exact(&mut frame[HEADER_BYTES..])?;
    Ok(frame)
}

/// A hardware TPM behind the kernel's resource manager: one write is a command, one read its response.
#[derive(Debug)]
pub struct Device(File);

impl Device {
    /// Where Linux puts it.
    pub const PATH: &'static str = "/dev/tpmrm0";

    /// Opens the device.
    ///
    /// # Errors
    /// If there is none or this user may not use it.
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(path).map(Self)
    }
}

impl From<File> for Device {
    fn from(file: File) -> Self {
        Self(file)
    }
}

impl Transport for Device {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        if self.0.write(command)? != command.len() {
            return Err(io::Error::new(io::ErrorKind::WriteZero, "the TPM device took part of a command"));
        }
        let mut frame = Zeroizing::new(vec![0; FRAME_BYTES_MAX]);
        let bytes = self.0.read(&mut frame)?;
        frame.truncate(bytes);
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_long_as_its_header_says() {
        let frame = [0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 7, 8, 9];
        assert_eq!(*read_frame(&mut &frame[..]).unwrap(), frame[..12]);
    }

    #[test]
    fn lengths_out_of_bounds_and_short_frames_are_refused() {
        for bytes in [0u32, 9, 4097, u32::MAX] {
            let mut frame = vec![0x80, 1];
            frame.extend_from_slice(&bytes.to_be_bytes());
            frame.extend_from_slice(&[0; 4096]);
            assert_eq!(read_frame(&mut &frame[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        assert_eq!(read_frame(&mut &[0x80, 1, 0, 0][..]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

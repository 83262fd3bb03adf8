//! Software TPMs for development: `swtpm`, one child process per node.
//!
//! They answer like hardware and protect nothing from whoever runs the machine: the state file holds the seeds in clear.
//! Each network has its own [`Authority`], whose root stands among the network's *simulated* trust anchors and nowhere
//! else.

use std::{
    fs::{self, File},
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use model::Blob;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use zeroize::Zeroizing;

use crate::tpm::{Stream, Tpm, TpmError, Transport};

/// Why there is no software TPM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulatedError {
    /// A program is missing on this machine.
    #[error("the command '{command}' is not installed (Debian, Ubuntu: apt install {package})")]
    Missing {
        /// Which program.
        command: &'static str,
        /// The package that brings it.
        package: &'static str,
    },
    /// A program ended with an error.
    #[error("{command}: {reason}")]
    Failed {
        /// Which program.
        command: &'static str,
        /// What it says.
        reason: String,
    },
    /// Nothing was manufactured there; swtpm would make up an empty TPM in silence.
    #[error("there is no software TPM in {0}")]
    NotManufactured(PathBuf),
    /// Another software TPM holds the state.
    #[error("the software TPM in {0} is in use by another process")]
    InUse(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A certificate file holds none.
    #[error("no certificate in {0}")]
    NoCertificate(PathBuf),
    /// A path has characters that the configuration files of swtpm cannot say.
    #[error("software TPMs cannot live under {0}: use a path of plain characters")]
    Path(PathBuf),
    /// It started and does not answer.
    #[error("the software TPM does not answer")]
    Silent(#[source] TpmError),
}

const SWTPM: &str = "swtpm";
const SETUP: &str = "swtpm_setup";
const SETPRIV: &str = "setpriv";
const LOCALCA: &str = "swtpm_localca";

/// The certificate of the key that signs endorsement certificates.
const ISSUER: &str = "issuercert.pem";
/// The certificate of the key that signed the issuer's.
const ROOT: &str = "swtpm-localca-rootca-cert.pem";
/// A copy of the issuer's certificate beside the TPM's state.
const ISSUER_COPY: &str = "issuer.pem";
/// Where swtpm keeps seeds and counters.
const STATE: &str = "tpm2-00.permall";
const LOG: &str = "swtpm.log";

/// A certificate authority for the software TPMs of one network.
#[derive(Clone, Debug)]
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// Makes an authority in `dir`, or takes up the one that is there. Its keys are made with the first TPM.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub fn create(dir: &Path) -> Result<Self, SimulatedError> {
        let dir = make_dir(dir)?;
        let shown = plain(&dir)?;
        let localca = find(LOCALCA, "swtpm-tools")?;
        let files = [
            (
                "localca.conf",
                format!(
                    "statedir = {shown}\nsigningkey = {shown}/signkey.pem\nissuercert = {shown}/{ISSUER}\n\
                     certserial = {shown}/certserial\n"
                ),
            ),
            (
                "localca.options",
                "--platform-manufacturer Samovar\n--platform-version 1\n--platform-model simulated\n".into(),
            ),
            (
                "setup.conf",
                format!(
                    "create_certs_tool = {}\ncreate_certs_tool_config = {shown}/localca.conf\n\
                     create_certs_tool_options = {shown}/localca.options\nactive_pcr_banks = sha256\n",
                    plain(&localca)?
                ),
            ),
        ];
        for (name, content) in files {
            write(&dir.join(name), content.as_bytes())?;
        }
        Ok(Self { dir })
    }

    /// Makes a software TPM with endorsement keys and certificates in `dir`. `name` ends up in the certificates.
    /// Takes about a second.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub fn manufacture(&self, dir: &Path, name: &str) -> Result<(), SimulatedError> {
        let dir = make_dir(dir)?;
        find(SWTPM, "swtpm")?;
        let output = Command::new(find(SETUP, "swtpm-tools")?)
            .args(["--tpm2", "--createek", "--create-ek-cert", "--lock-nvram", "--overwrite", "--vmid", name])
            .arg("--tpmstate")
            .arg(&dir)
            .arg("--config")
            .arg(self.dir.join("setup.conf"))
            .stdin(Stdio::null())
            .output()
            .map_err(|cause| SimulatedError::Failed { command: SETUP, reason: cause.to_string() })?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            return Err(SimulatedError::Failed { command: SETUP, reason: last_lines(&String::from_utf8_lossy(&said)) });
        }
        let issuer = self.dir.join(ISSUER);
        let copied = fs::read(&issuer).map_err(file_error(&issuer))?;
        write(&dir.join(ISSUER_COPY), &copied)
    }

    /// The root certificate (DER): what a genesis names as simulated trust anchor. There is none before the first TPM.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub fn root(&self) -> Result<Blob, SimulatedError> {
        let mut certificates = certificates(&self.dir.join(ROOT))?;
        Ok(certificates.swap_remove(0))
    }
}

/// A running software TPM. It ends when the connection does, however this process ends.
#[derive(Debug)]
pub struct Device {
    dir: PathBuf,
    // Closed before the child is waited for: fields are dropped in this order.
    socket: UnixStream,
    child: Running,
}

impl Device {
    /// Starts the TPM that was manufactured in `dir`: a power-on, so its registers are as after a reset.
    ///
    /// The child's standard input is one end of a socket pair and carries the commands; there is no path that others
    /// could connect to, and no moment in which the child could be left behind.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub fn start(dir: &Path) -> Result<Self, SimulatedError> {
        Self::start_by(dir, || Ok(Command::new(find(SWTPM, "swtpm")?)))
    }

    /// Like [`Device::start`], for a thread that lives as long as the TPM shall: the system also ends the TPM when that
    /// thread ends. A software TPM (0.7) that loses its client while it answers a command does not notice; it would run on,
    /// and keep its state from the next start.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub fn start_bound(dir: &Path) -> Result<Self, SimulatedError> {
        Self::start_by(dir, || {
            let mut command = Command::new(find(SETPRIV, "util-linux")?);
            command.args(["--pdeathsig", "TERM", "--"]).arg(find(SWTPM, "swtpm")?);
            Ok(command)
        })
    }

    fn start_by(dir: &Path, program: impl Fn() -> Result<Command, SimulatedError>) -> Result<Self, SimulatedError> {
        // An earlier TPM on the same state ends as soon as it notices that its client has gone.
        const PATIENCE: Duration = Duration::from_secs(5);
        let dir = dir.canonicalize().map_err(file_error(dir))?;
        if !dir.join(STATE).is_file() {
            return Err(SimulatedError::NotManufactured(dir));
        }
        let started = Instant::now();
        loop {
            match Self::try_start(&dir, program()?) {
                Err(SimulatedError::InUse(_)) if started.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(20))
                }
                outcome => return outcome,
            }
        }
    }

    fn try_start(dir: &Path, mut program: Command) -> Result<Self, SimulatedError> {
        let shown = plain(dir)?;
        let failed = |cause: io::Error| SimulatedError::Failed { command: SWTPM, reason: cause.to_string() };
        // A file of its own: an earlier TPM that is just ending still writes to the old one.
        let _ = fs::remove_file(dir.join(LOG));
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        let child = program
            .args(["socket", "--tpm2", "--terminate", "--server", "type=tcp,fd=0", "--seccomp", "action=kill"])
            .args(["--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={shown}"))
            .arg("--log")
            .arg(format!("file={shown}/{LOG},level=1,truncate"))
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        // It holds the child's end of the connection; with that open a child that gives up would never be noticed.
        drop(program);
        let device = Self { dir: dir.to_owned(), socket, child: Running(child) };
        match device.greet() {
            Ok(()) => Ok(device),
            Err(cause) => Err(device.explain(cause)),
        }
    }

    /// A first command, so that a TPM that does not come up is noticed here.
    fn greet(&self) -> Result<(), TpmError> {
        Tpm::new(self.transport().map_err(TpmError::Io)?).read_pcrs(&[0]).map(drop)
    }

    fn explain(&self, cause: TpmError) -> SimulatedError {
        let log = fs::read_to_string(self.dir.join(LOG)).unwrap_or_default();
        if log.contains("Could not lock") {
            SimulatedError::InUse(self.dir.clone())
        } else if log.is_empty() {
            SimulatedError::Silent(cause)
        } else {
            SimulatedError::Failed { command: SWTPM, reason: last_lines(&log) }
        }
    }

    fn transport(&self) -> io::Result<Stream> {
        Stream::new(self.socket.try_clone()?)
    }

    /// The certificates between this TPM's endorsement certificate and the root (DER).
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub fn intermediates(&self) -> Result<Vec<Blob>, SimulatedError> {
        intermediates(&self.dir)
    }

    /// The TPM. It ends when the value is dropped.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub fn into_tpm(self) -> Result<Tpm, SimulatedError> {
        let transport = self.transport().map_err(|cause| SimulatedError::Silent(TpmError::Io(cause)))?;
        Ok(Tpm::new(Owned { transport, _device: self }))
    }

    /// The connection alone, for handing over to the program that this process becomes. From then on the TPM lives as
    /// long as the connection. The socket is closed on exec unless the caller changes that.
    pub fn into_socket(self) -> UnixStream {
        // Nobody waits for the child any more: it ends by itself.
        std::mem::forget(self.child);
        self.socket
    }
}

/// A child that is about to end, because its connection is closed.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            match self.0.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(1)),
                _ => return,
            }
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A transport that keeps its TPM running.
struct Owned {
    transport: Stream,
    _device: Device,
}

impl Transport for Owned {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        self.transport.exchange(command)
    }
}

/// The certificates between the endorsement certificate of the software TPM in `dir` and the root (DER).
///
/// # Errors
/// [`SimulatedError`].
pub fn intermediates(dir: &Path) -> Result<Vec<Blob>, SimulatedError> {
    certificates(&dir.join(ISSUER_COPY))
}

fn certificates(path: &Path) -> Result<Vec<Blob>, SimulatedError> {
    let pem = fs::read(path).map_err(file_error(path))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates: Vec<Blob> =
        found.unwrap_or_default().into_iter().map(|certificate| Blob(certificate.to_vec())).collect();
    if certificates.is_empty() { Err(SimulatedError::NoCertificate(path.to_owned())) } else { Ok(certificates) }
}

/// Finds a program in `PATH` and in the folders where distributions put system programs.
fn find(command: &'static str, package: &'static str) -> Result<PathBuf, SimulatedError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/local/bin", "/usr/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(command))
        .find(|file| file.is_file())
        .ok_or(SimulatedError::Missing { command, package })
}

/// A path as swtpm's option and configuration syntax can say it.
fn plain(path: &Path) -> Result<&str, SimulatedError> {
    let said = |c: char| !c.is_whitespace() && !c.is_control() && !",=#\"'\\".contains(c);
    path.to_str().filter(|text| text.chars().all(said)).ok_or_else(|| SimulatedError::Path(path.to_owned()))
}

fn make_dir(dir: &Path) -> Result<PathBuf, SimulatedError> {
    fs::create_dir_all(dir).and_then(|()| dir.canonicalize()).map_err(file_error(dir))
}

fn write(path: &Path, content: &[u8]) -> Result<(), SimulatedError> {
    File::create(path).and_then(|mut file| io::Write::write_all(&mut file, content)).map_err(file_error(path))
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> SimulatedError {
    let path = path.to_owned();
    move |source| SimulatedError::File { path, source }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

//! The measured process: gets the node's identity from the TPM, which gives it to approved programs only, and runs the
//! node until it is told to stop.

use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use attest::{
    SealError, SealedSecret,
    launcher::{self, LaunchError},
    release::{ReleaseError, ReleaseFile},
    tpm::{self, Stream, Tpm},
    unseal_secret,
};
use custody::{LocalSealError, NodeIdentity};
use model::{Canonical, CustodyMode, Digest, EncodingError, EventLog, Genesis};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use zeroize::Zeroizing;

use crate::{
    appraiser::TpmParts,
    config::{Config, ConfigError, TpmSource},
    fault,
    launcher::{CONFIG, TPM_FD},
    network::SHARE_PURPOSE,
    node::{Node, Secrets, StartError},
    telemetry,
};

/// How long threads that write something down may take when everything else has stopped.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a node did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Not started by a launcher.
    #[error("this command is for `samovar node` to use")]
    Arguments,
    /// The kernel does not keep others out.
    #[error("cannot keep the memory of this process private")]
    Memory(#[source] io::Error),
    /// The kernel may write this memory to a disk.
    #[error(
        "this machine swaps to {0}, where keys and plaintext would end up; this network is one with strict custody"
    )]
    Swap(String),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} is damaged or of another version")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: EncodingError,
    },
    /// The TPM cannot be reached.
    #[error("cannot open the TPM")]
    Tpm(#[source] io::Error),
    /// The launcher's log.
    #[error("the launcher's log cannot be read")]
    Log(#[from] LaunchError),
    /// The release of this program.
    #[error("the release of this program cannot be read")]
    Release(#[from] ReleaseError),
    /// Nobody vouches for this program.
    #[error("this binary ({0}) is not approved: the network's release key has not signed it")]
    NotApproved(Digest),
    /// The TPM does not give the identity out.
    #[error("the TPM does not release this node's identity to this binary")]
    Sealed(#[source] SealError),
    /// The share file is not this node's.
    #[error("{path} does not open")]
    Share {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: LocalSealError,
    },
    /// The node itself.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A part of the node ended that must not.
    #[error("{0} ended; the log says why")]
    Ended(&'static str),
}

impl NodeError {
    /// What to do next.
    pub fn hint(&self) -> String {
        // What the system says about a TPM is not about files.
        let about_files = !matches!(self, Self::Tpm(_) | Self::Log(LaunchError::Tpm(_)) | Self::Sealed(_));
        if let Some(advice) = fault::advice(self).filter(|_| about_files) {
            return advice.into();
        }
        match self {
            Self::Arguments | Self::Memory(_) => "run `samovar node --config FILE`".into(),
            Self::NotApproved(_) | Self::Sealed(SealError::NotApproved { .. }) => {
                "if you built it and trust it: `samovar network approve DIR`, then start the node again".into()
            }
            Self::Swap(_) => "switch it off (`swapoff -a`), or swap to compressed memory (zram)".into(),
            Self::Config(_) => "`samovar network create DIR` writes working configurations".into(),
            Self::File { .. } | Self::Malformed { .. } | Self::Share { .. } => {
                "restore the node's whole folder from one backup".into()
            }
            Self::Tpm(_) | Self::Log(_) | Self::Sealed(_) => {
                "is this the machine, and the TPM, that the node was set up with?".into()
            }
            Self::Release(_) => "sign this binary again with `samovar network approve DIR`".into(),
            Self::Start(cause) => cause.hint(),
            Self::Ended(_) => "look at the last lines of the log, and whether the disk is full; then start the node again: nothing is lost".into(),
        }
    }
}

/// Runs the measured process; `arguments` are what the launcher passed after the verb. Returns when the node was told to
/// stop and has.
///
/// # Errors
/// [`NodeError`].
pub fn measured_main(arguments: Vec<OsString>) -> Result<(), NodeError> {
    telemetry::start();
    keep_memory_private().map_err(NodeError::Memory)?;
    let (config_path, connection) = read_arguments(arguments)?;
    let config = Config::load(&config_path)?;
    let genesis: Genesis = decode(&config.genesis, Genesis::BYTES_MAX)?;
    keep_memory_off_disks(genesis.custody)?;
    let mut tpm = open_tpm(&config, connection)?;
    let log = launcher::load(&config.layout.event_log())?;
    let identity = unseal(&config, &mut tpm, &log)?;
    let share = open_share(&config, &identity)?;
    let intermediates = intermediates(&config)?;
    run(config, genesis, Secrets { identity, share, tpm: TpmParts { tpm, log, intermediates } })
}

/// Keeps keys and plaintext out of core files, and other processes of this user out of this memory.
fn keep_memory_private() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}

/// Refuses to run beside a swap file where custody is strict, and warns of it elsewhere.
fn keep_memory_off_disks(custody: CustodyMode) -> Result<(), NodeError> {
    // Where there is no such file, there is no swap.
    let Some(area) = swap_area(&fs::read_to_string("/proc/swaps").unwrap_or_default()) else { return Ok(()) };
    match custody {
        CustodyMode::Strict => Err(NodeError::Swap(area)),
        CustodyMode::Development => {
            tracing::warn!(area, "this machine swaps: keys and plaintext may end up on its disk");
            Ok(())
        }
    }
}

/// The first swap area that is not in memory itself, from the text of `/proc/swaps` (a head line, then one area a line).
fn swap_area(swaps: &str) -> Option<String> {
    let areas = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    areas.map(str::to_owned).find(|area| !area.starts_with("/dev/zram"))
}

fn run(config: Config, genesis: Genesis, secrets: Secrets) -> Result<(), NodeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|cause| NodeError::Start(StartError::Runtime(cause)))?;
    let ended = runtime.block_on(async {
        // From the first moment: whoever stops a node that is just starting gets the same clean end.
        let mut stop = Stop::listen().map_err(StartError::Runtime)?;
        let node = tokio::select! {
            node = Node::start(config, genesis, secrets) => node?,
            () = stop.told() => return Ok(()),
        };
        let ended = node.until(stop.told()).await;
        node.shutdown().await;
        ended.map_or(Ok(()), |part| Err(NodeError::Ended(part)))
    });
    // A guest may be running, and a thread that waits for it: its process ends with this one.
    runtime.shutdown_timeout(FAREWELL);
    ended
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns when somebody says that the node is to stop.
    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::info!("told to stop");
    }
}

/// `--config FILE [--tpm-fd N]`
fn read_arguments(arguments: Vec<OsString>) -> Result<(PathBuf, Option<RawFd>), NodeError> {
    let text = |argument: Option<&OsString>| argument.and_then(|it| it.to_str().map(str::to_owned));
    let number = |argument| text(argument).and_then(|it| it.parse::<RawFd>().ok());
    match arguments.as_slice() {
        [flag, path] if flag == CONFIG => Ok((path.into(), None)),
        [flag, path, tpm, fd] if flag == CONFIG && tpm == TPM_FD => {
            Ok((path.into(), Some(number(Some(fd)).filter(|fd| *fd > 2).ok_or(NodeError::Arguments)?)))
        }
        _ => Err(NodeError::Arguments),
    }
}

fn open_tpm(config: &Config, connection: Option<RawFd>) -> Result<Tpm, NodeError> {
    match (&config.tpm, connection) {
        (TpmSource::Simulated, Some(fd)) => {
            let connection = inherited(fd).map_err(NodeError::Tpm)?;
            Ok(Tpm::new(Stream::new(connection).map_err(NodeError::Tpm)?))
        }
        (TpmSource::Device(path), None) => Ok(Tpm::new(tpm::Device::open(path).map_err(NodeError::Tpm)?)),
        _ => Err(NodeError::Arguments),
    }
}

/// Takes over the connection that the launcher left open, and keeps it from programs that this one starts.
#[allow(unsafe_code, reason = "a descriptor number from the command line becomes an owned descriptor")]
fn inherited(fd: RawFd) -> io::Result<UnixStream> {
    // SAFETY: the launcher left this descriptor open for this process and for nothing else; this is called once, before
    // any thread is started or any file is opened, so nobody else owns it. If it is not open, the next call says so.
    let connection = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&connection, rustix::io::FdFlags::CLOEXEC)?;
    Ok(UnixStream::from(connection))
}

/// The node's identity, if the TPM finds that an approved program asks for it.
fn unseal(config: &Config, tpm: &mut Tpm, log: &EventLog) -> Result<NodeIdentity, NodeError> {
    // The launcher's last entry is this process.
    let binary = log.entries.last().map(|entry| entry.binary).ok_or(NodeError::Arguments)?;
    let release = ReleaseFile::load(&config.releases, &binary)?.ok_or(NodeError::NotApproved(binary))?;
    let path = config.layout.identity();
    let sealed = SealedSecret::decode(&read(&path)?).map_err(|cause| NodeError::Malformed { path, cause })?;
    let seed = unseal_secret(tpm, &sealed, &release).map_err(NodeError::Sealed)?;
    Ok(NodeIdentity::from_seed(&seed))
}

fn open_share(config: &Config, identity: &NodeIdentity) -> Result<Zeroizing<Vec<u8>>, NodeError> {
    let path = config.layout.share();
    let sealed = read(&path)?;
    identity.open_local(SHARE_PURPOSE, &sealed).map_err(|cause| NodeError::Share { path, cause })
}

fn intermediates(config: &Config) -> Result<Vec<model::Blob>, NodeError> {
    match config.tpm {
        TpmSource::Simulated => attest::simulated::intermediates(&config.layout.tpm())
            .map_err(|cause| NodeError::Tpm(io::Error::other(cause))),
        // Makers of hardware put theirs into the TPM or on their web sites; none is needed if the root signed directly.
        TpmSource::Device(_) => Ok(Vec::new()),
    }
}

fn decode<T: Canonical>(path: &Path, bytes_max: usize) -> Result<T, NodeError> {
    T::from_bytes(&read(path)?, bytes_max).map_err(|cause| NodeError::Malformed { path: path.to_owned(), cause })
}

fn read(path: &Path) -> Result<Vec<u8>, NodeError> {
    fs::read(path).map_err(|cause| NodeError::File { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_core_file_holds_a_key() {
        keep_memory_private().unwrap();
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(rustix::process::getrlimit(Resource::Core).current, Some(0));
    }

    #[test]
    fn memory_that_may_be_swapped_out_is_noticed() {
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        let zram = "/dev/zram0                              partition\t8388604\t0\t100\n";
        let disk = "/swap.img                               file\t\t4194300\t0\t-2\n";
        assert_eq!(swap_area(""), None);
        assert_eq!(swap_area(&[head, zram].concat()), None, "compressed memory is memory");
        assert_eq!(swap_area(&[head, zram, disk].concat()), Some("/swap.img".into()));
    }

    fn arguments(text: &str) -> Option<(PathBuf, Option<RawFd>)> {
        read_arguments(text.split(' ').map(OsString::from).collect()).ok()
    }

    #[test]
    fn a_launcher_passes_a_configuration_and_perhaps_a_descriptor() {
        assert_eq!(arguments("--config a"), Some(("a".into(), None)));
        assert_eq!(arguments("--config a --tpm-fd 7"), Some(("a".into(), Some(7))));
    }

    #[test]
    fn nobody_else_starts_it() {
        for text in ["", "--config", "--config a --tpm-fd", "--config a --tpm-fd x", "--tpm-fd 7 --config a", "a b c d"]
        {
            assert_eq!(arguments(text), None, "{text}");
        }
        // Standard streams are no TPM.
        assert_eq!(arguments("--config a --tpm-fd 0"), None);
        assert_eq!(arguments("--config a --tpm-fd -1"), None);
    }
}

//! The launcher: measures this program into the node's TPM, then becomes it.
//!
//! The descriptor that is hashed is the one that is executed, so no other file can slip in between; the kernel lets
//! nobody write to a program that runs. A binary that nobody has approved is measured all the same: the TPM then keeps
//! the node's identity to itself, and appraisers see the measurement in the log.

use std::{
    convert::Infallible,
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::AsRawFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Command,
};

use attest::{
    launcher::{LaunchError as MeasureError, extend_and_log, measure},
    release::{ReleaseError, ReleaseFile},
    simulated::{self, SimulatedError},
    tpm::{self, Stream, Tpm},
};

use crate::{
    config::{Config, ConfigError, TpmSource},
    fault,
};

/// The hidden subcommand under which a launcher starts the measured process.
pub const MEASURED_VERB: &str = "node-measured";
/// Names the descriptor of the software TPM's connection.
pub(crate) const TPM_FD: &str = "--tpm-fd";
/// Names the configuration.
pub(crate) const CONFIG: &str = "--config";

/// Why a node was not launched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The software TPM.
    #[error("cannot start this node's software TPM")]
    Simulated(#[from] SimulatedError),
    /// The hardware TPM.
    #[error("cannot open the TPM {device}")]
    Device {
        /// Which.
        device: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The measurement.
    #[error("this program could not be measured")]
    Measure(#[from] MeasureError),
    /// The file of its release.
    #[error("the release of this program cannot be read")]
    Release(#[from] ReleaseError),
    /// This program itself cannot be read or executed.
    #[error("cannot {attempt} this program")]
    Program {
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

impl LaunchError {
    /// What to do next.
    pub fn hint(&self) -> String {
        let about_files = matches!(self, Self::Config(_) | Self::Measure(MeasureError::File { .. }) | Self::Release(_));
        if let Some(advice) = fault::advice(self).filter(|_| about_files) {
            return advice.into();
        }
        match self {
            Self::Config(_) => "`samovar network create DIR` writes working configurations".into(),
            Self::Simulated(SimulatedError::InUse(_)) => "is this node running already?".into(),
            Self::Simulated(SimulatedError::Missing { .. }) => {
                "software TPMs need swtpm: apt-get install swtpm swtpm-tools".into()
            }
            Self::Simulated(SimulatedError::NotManufactured(_) | SimulatedError::NoCertificate(_)) => {
                "restore the node's whole folder from one backup: its identity is sealed by that TPM".into()
            }
            Self::Simulated(_) => {
                "may this user write to the node's folder, and is there room on its disk? tpm/swtpm.log there may say more".into()
            }
            Self::Device { device, .. } => format!("does {} exist, and may this user open it?", device.display()),
            Self::Measure(_) => "restart the machine, or for a software TPM start the node again".into(),
            Self::Release(_) => "sign this binary again with `samovar network approve`".into(),
            Self::Program { .. } => "check the installation of samovar".into(),
        }
    }
}

/// Measures this program into the TPM of the node that `config` describes, and becomes the measured process. Returns only
/// if that fails. `passed_on` follows the arguments of the measured process, for whoever takes them off again there.
///
/// # Errors
/// [`LaunchError`].
pub fn launch(config: &Path, passed_on: &[&OsStr]) -> Result<Infallible, LaunchError> {
    let settings = Config::load(config)?;
    let program = File::open("/proc/self/exe").map_err(|cause| LaunchError::Program { attempt: "open", cause })?;
    let binary = measure(&program).map_err(|cause| LaunchError::Program { attempt: "read", cause })?;
    let release = ReleaseFile::load(&settings.releases, &binary)?;
    let (mut tpm, connection) = open_tpm(&settings)?;
    extend_and_log(&mut tpm, &settings.layout.event_log(), binary, release.map(|release| release.statement))?;
    Err(become_measured(&program, config, connection.as_ref(), passed_on))
}

/// The TPM, and the connection to hand over if it is software that this launcher has started.
fn open_tpm(settings: &Config) -> Result<(Tpm, Option<UnixStream>), LaunchError> {
    match &settings.tpm {
        TpmSource::Simulated => {
            // This thread lives on in the measured process.
            let connection = simulated::Device::start_bound(&settings.layout.tpm())?.into_socket();
            let stream = connection.try_clone().and_then(Stream::new);
            let stream = stream.map_err(|cause| LaunchError::Device { device: settings.layout.tpm(), cause })?;
            Ok((Tpm::new(stream), Some(connection)))
        }
        TpmSource::Device(path) => {
            let device = tpm::Device::open(path);
            let device = device.map_err(|cause| LaunchError::Device { device: path.clone(), cause })?;
            Ok((Tpm::new(device), None))
        }
    }
}

/// Executes the program behind an open descriptor, as fexecve(3) does.
fn become_measured(
    program: &File,
    config: &Path,
    connection: Option<&UnixStream>,
    passed_on: &[&OsStr],
) -> LaunchError {
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command.arg(MEASURED_VERB).arg(CONFIG).arg(config);
    if let Some(connection) = connection {
        // Everything else this process has open ends here; this one descriptor goes along.
        if let Err(cause) = rustix::io::fcntl_setfd(connection, rustix::io::FdFlags::empty()) {
            return LaunchError::Program { attempt: "hand the TPM over to", cause: cause.into() };
        }
        command.arg(TPM_FD).arg(connection.as_raw_fd().to_string());
    }
    command.args(passed_on);
    LaunchError::Program { attempt: "execute", cause: command.exec() }
}

//! The launcher and the software TPM's life.

use std::fs;

use attest::{
    launcher::{self, LaunchError},
    simulated::{Authority, Device, SimulatedError},
    tpm::{PCR_LAUNCHER, Stream, Tpm},
};
use model::Digest;

use crate::fixture::{binary, fixture, power_on};

#[test]
fn the_log_follows_the_register_through_restarts_of_the_node() {
    let dir = fixture().tpm_dir("tpm-0");
    let log_file = dir.path().join("log");
    let mut tpm = power_on(dir.path());
    for starts in 1..=3 {
        let log = launcher::extend_and_log(&mut tpm, &log_file, binary(), None).unwrap();
        assert_eq!(log.entries.len(), starts);
        assert_eq!(launcher::load(&log_file).unwrap(), log);
        assert_eq!(tpm.read_pcrs(&[PCR_LAUNCHER]).unwrap(), [launcher::replay(&log)]);
    }
}

#[test]
fn a_register_that_somebody_else_extended_is_not_explained_away() {
    let dir = fixture().tpm_dir("tpm-0");
    let log_file = dir.path().join("log");
    let mut tpm = power_on(dir.path());
    launcher::extend_and_log(&mut tpm, &log_file, binary(), None).unwrap();
    tpm.extend(PCR_LAUNCHER, &Digest::of(b"something else")).unwrap();
    let refused = launcher::extend_and_log(&mut tpm, &log_file, binary(), None).unwrap_err();
    assert!(matches!(refused, LaunchError::Unexplained { .. }), "{refused}");
    fs::remove_file(&log_file).unwrap();
    let refused = launcher::extend_and_log(&mut tpm, &log_file, binary(), None).unwrap_err();
    assert!(matches!(refused, LaunchError::Unexplained { .. }), "{refused}");
}

#[test]
fn a_software_tpm_ends_with_its_connection_and_lives_on_with_the_socket_alone() {
    let dir = fixture().tpm_dir("tpm-0");
    let socket = Device::start(dir.path()).unwrap().into_socket();
    let mut tpm = Tpm::new(Stream::new(socket).unwrap());
    assert!(tpm.read_pcrs(&[0]).is_ok());
    // While it lives nobody else gets at its state; a start waits for it in vain.
    let refused = Device::start(dir.path()).unwrap_err();
    assert!(matches!(refused, SimulatedError::InUse(_)), "{refused}");
    drop(tpm);
    assert!(Device::start(dir.path()).is_ok());
}

#[test]
fn a_tpm_that_is_just_ending_is_waited_for() {
    let dir = fixture().tpm_dir("tpm-0");
    for start in 0..25 {
        // The connection closes here; the child notices some time later.
        let started = Device::start(dir.path()).map(Device::into_socket);
        assert!(started.is_ok(), "start {start}: {started:?}");
    }
}

#[test]
fn a_folder_without_a_tpm_and_awkward_paths_are_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Device::start(dir.path()), Err(SimulatedError::NotManufactured(_))));
    assert!(matches!(attest::simulated::intermediates(dir.path()), Err(SimulatedError::File { .. })));
    let awkward = dir.path().join("a, b");
    let refused = Authority::create(&awkward).unwrap_err();
    assert!(refused.to_string().contains("plain characters"), "{refused}");
}

#[test]
fn a_device_path_that_is_none_is_an_error() {
    assert!(attest::tpm::Device::open(std::path::Path::new("/dev/no-such-tpm")).is_err());
}

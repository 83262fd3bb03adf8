//! What a test cannot compute: the certificates and quotes of four software TPMs. Made once with swtpm, then a file.

use std::{fs, path::PathBuf, sync::OnceLock};

use attest::{
    Attester, Request,
    launcher::extend_and_log,
    release::ReleaseKey,
    simulated::{Authority, Device},
};
use model::*;
use serde::{Deserialize, Serialize};

use crate::story::{Story, node_key, sealing_key};

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Fixture {
    /// Ledger time of the first block: when the TPMs were made.
    pub(crate) time_ms: u64,
    pub(crate) root: Blob,
    pub(crate) release_key: Blob,
    pub(crate) event_log: EventLog,
    /// In the order of `node_key`.
    pub(crate) nodes: Vec<FixtureNode>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct FixtureNode {
    pub(crate) endorsement: Digest,
    pub(crate) attestation_key: Blob,
    /// Evidence for the network that this fixture makes; empty while that is being found out.
    pub(crate) evidence: Blob,
}

pub(crate) fn vectors_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/vectors/proof")
}

pub(crate) fn blessing() -> bool {
    std::env::var_os("SAMOVAR_BLESS").is_some()
}

impl Fixture {
    pub(crate) fn load() -> &'static Self {
        static FIXTURE: OnceLock<Fixture> = OnceLock::new();
        FIXTURE.get_or_init(|| {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/tpm.fixture");
            if blessing() {
                fs::write(&path, Self::make().to_bytes()).expect("the fixture is written");
            }
            let bytes = fs::read(path).expect("SAMOVAR_BLESS=1 makes the fixture");
            Self::from_bytes(&bytes, usize::MAX).expect("the fixture is readable")
        })
    }

    /// Makes four TPMs, then the network that approves them, then their evidence for that network.
    fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(&dir.path().join("ca")).unwrap();
        let release = ReleaseKey::generate().unwrap();
        let binary = Digest::of(b"a release of the node");
        let mut attesters = Vec::new();
        let mut fixture = Self {
            time_ms: 0,
            root: Blob::default(),
            release_key: release.public().to_bytes(),
            event_log: EventLog::default(),
            nodes: vec![],
        };
        for index in 0..4 {
            let tpm_dir = dir.path().join(format!("tpm-{index}"));
            authority.manufacture(&tpm_dir, &format!("node-{index}")).unwrap();
            let device = Device::start(&tpm_dir).unwrap();
            let intermediates = device.intermediates().unwrap();
            let mut tpm = device.into_tpm().unwrap();
            let statement = Some(release.release(binary, 1).statement);
            let log_file = tpm_dir.join("events");
            fixture.event_log = extend_and_log(&mut tpm, &log_file, binary, statement).unwrap();
            let attester = Attester::open(tpm, intermediates).unwrap();
            let registration = attester.registration(node_key(0).id(), Blob::default(), String::new(), String::new());
            fixture.nodes.push(FixtureNode {
                endorsement: attester.endorsement(),
                attestation_key: registration.attestation_key,
                evidence: Blob::default(),
            });
            attesters.push(attester);
        }
        fixture.root = authority.root().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        fixture.time_ms = now.as_millis() as u64 / 60_000 * 60_000 + 60_000;

        let story = Story::begin(&fixture);
        let request = Request { role: Role::Executor, window: story.window(), block: story.block_ref() };
        for (index, attester) in attesters.iter_mut().enumerate() {
            let registration = story.registration(index as u8);
            assert_eq!(registration.sealing_key, sealing_key(index as u8));
            let pcrs = &story.genesis.appraisal.pcrs;
            let evidence = attester.evidence(&story.network, &registration, request, pcrs, &fixture.event_log).unwrap();
            fixture.nodes[index].evidence = Blob(evidence.to_bytes());
        }
        fixture
    }
}

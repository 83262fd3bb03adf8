//! A network with three nodes, each with its own software TPM. TPMs are manufactured once per test run and copied for
//! every test.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use attest::{
    AppraiseError, Appraised, Attester, Expectation, Request, appraise, launcher,
    release::ReleaseKey,
    simulated::{Authority, Device, intermediates},
    tpm::Tpm,
};
use ed25519_dalek::{Signer, SigningKey};
use model::{
    AppraisalPolicy, Blob, BlockRef, Bytes64, Bytes96, CustodyMode, Digest, EventLog, Evidence, FeeSchedule, Genesis,
    Limits, NetworkId, NetworkLimits, NodeId, Registration, Role, Signable, Signed, TrustAnchors, Validator,
};
use tempfile::TempDir;

pub(crate) const NODES: usize = 3;
pub(crate) const HOUR_MS: u64 = 3_600_000;
pub(crate) const WINDOW_MS: u64 = HOUR_MS;

pub(crate) struct Fixture {
    dir: PathBuf,
    now_ms: u64,
    pub(crate) release_key: ReleaseKey,
    pub(crate) genesis: Genesis,
    pub(crate) network: NetworkId,
    /// The root of another authority, whose name is the same.
    pub(crate) foreign_root: Blob,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(Fixture::make);

pub(crate) fn fixture() -> &'static Fixture {
    &FIXTURE
}

/// Ledger time in these tests: shortly after the certificates were made.
pub(crate) fn now_ms() -> u64 {
    fixture().now_ms
}

/// What the nodes run.
pub(crate) fn binary() -> Digest {
    Digest::of(b"samovar 1.0.0")
}

pub(crate) fn block() -> BlockRef {
    BlockRef { height: 7, time_ms: now_ms() - 2_000, digest: Digest::of(b"header 7") }
}

pub(crate) fn request() -> Request {
    Request { role: Role::Executor, window: now_ms() / WINDOW_MS, block: block() }
}

pub(crate) fn key(index: usize) -> SigningKey {
    SigningKey::from_bytes(&[index as u8 + 1; 32])
}

pub(crate) fn node_id(index: usize) -> NodeId {
    model::AccountId(key(index).verifying_key().to_bytes())
}

pub(crate) fn sign<T: Signable>(index: usize, network: &NetworkId, body: T) -> Signed<T> {
    let signature = key(index).sign(&Signed::message(network, &body));
    Signed::assemble(body, Bytes64(signature.to_bytes()))
}

impl Fixture {
    fn make() -> Self {
        // One folder, emptied by the next run: a static is never dropped.
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("attest-fixture");
        let _ = fs::remove_dir_all(&dir);
        let authority = Authority::create(&dir.join("authority")).unwrap_or_else(|cause| panic!("{cause}"));
        for index in 0..NODES {
            authority
                .manufacture(&dir.join(format!("tpm-{index}")), &format!("node-{index}"))
                .unwrap_or_else(|cause| panic!("{cause}"));
        }
        let foreign = Authority::create(&dir.join("foreign")).unwrap();
        foreign.manufacture(&dir.join("tpm-foreign"), "node-0").unwrap();
        let release_key = ReleaseKey::generate().unwrap();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now_ms = since.as_millis() as u64 + 5_000;
        let genesis = genesis(&dir, &authority, &release_key, now_ms);
        Self { now_ms, network: genesis.network_id(), foreign_root: foreign.root().unwrap(), dir, release_key, genesis }
    }

    /// A fresh copy of a manufactured TPM, switched off.
    pub(crate) fn tpm_dir(&self, name: &str) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for file in ["tpm2-00.permall", "issuer.pem"] {
            fs::copy(self.dir.join(name).join(file), copy.path().join(file)).unwrap();
        }
        copy
    }
}

fn genesis(dir: &Path, authority: &Authority, release_key: &ReleaseKey, now_ms: u64) -> Genesis {
    let validator = |index: usize| Validator {
        node: node_id(index),
        operator: format!("operator {index}"),
        region: "here".into(),
        endorsement: open(&dir.join(format!("tpm-{index}"))).endorsement(),
    };
    let mut validators: Vec<Validator> = (0..NODES).map(validator).collect();
    validators.sort_by_key(|validator| validator.node);
    Genesis {
        version: 1,
        name: "attest".into(),
        created_ms: now_ms - HOUR_MS,
        network_key: Bytes96([1; 96]),
        sharing: Blob(vec![]),
        validators,
        trust_anchors: TrustAnchors { hardware: vec![], simulated: vec![authority.root().unwrap()] },
        appraisal: AppraisalPolicy {
            release_key: release_key.public().to_bytes(),
            release_counter_min: 2,
            pcrs: vec![0, 7, 14],
            verdict_ms: 2 * WINDOW_MS,
            window_ms: WINDOW_MS,
            appraisers: 2,
            evidence_age_ms_max: 60_000,
        },
        custody: CustodyMode::Development,
        fees: FeeSchedule {
            transaction: 1,
            transaction_kib: 1,
            appraisal: 1,
            executor: 1,
            executor_second: 1,
            executor_64mib: 1,
            custodians: 1,
            storage: 1,
            validators: 1,
        },
        limits: NetworkLimits {
            program_bytes: 1,
            task: Limits { run_ms: 1, memory_bytes: 1, output_bytes: 1 },
            slots_per_node: 1,
            copies: 1,
            storage_ms: 1,
            overhead_ms: 1,
        },
        allocations: vec![],
        top_up_max: 0,
    }
}

/// Power on, without measuring anything.
pub(crate) fn power_on(dir: &Path) -> Tpm {
    Device::start(dir).and_then(Device::into_tpm).unwrap_or_else(|cause| panic!("{cause}"))
}

pub(crate) fn open(dir: &Path) -> Attester {
    Attester::open(power_on(dir), intermediates(dir).unwrap()).unwrap()
}

/// A node that runs, with what it has measured.
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) attester: Attester,
    pub(crate) registration: Registration,
    pub(crate) log: EventLog,
    pub(crate) dir: TempDir,
}

impl Node {
    /// Node `index`, started once with an approved binary.
    pub(crate) fn start(index: usize) -> Self {
        Self::start_with(index, binary(), fixture().release_key.release(binary(), 2).statement)
    }

    pub(crate) fn start_with(
        index: usize,
        binary: Digest,
        statement: impl Into<Option<model::ReleaseStatement>>,
    ) -> Self {
        let dir = fixture().tpm_dir(&format!("tpm-{index}"));
        let mut tpm = power_on(dir.path());
        let log = launcher::extend_and_log(&mut tpm, &dir.path().join("log"), binary, statement.into()).unwrap();
        let attester = Attester::open(tpm, intermediates(dir.path()).unwrap()).unwrap();
        let registration = attester.registration(
            node_id(index),
            Blob(vec![index as u8; 1216]),
            format!("operator {index}"),
            "here".into(),
        );
        Self { index, attester, registration, log, dir }
    }

    pub(crate) fn evidence(&mut self) -> Evidence {
        self.evidence_for(request())
    }

    pub(crate) fn evidence_for(&mut self, request: Request) -> Evidence {
        let pcrs = &fixture().genesis.appraisal.pcrs;
        self.attester.evidence(&fixture().network, &self.registration, request, pcrs, &self.log).unwrap()
    }

    pub(crate) fn id(&self) -> NodeId {
        self.registration.node
    }
}

/// What the network expects of node `index` right now.
pub(crate) fn expectation(index: usize) -> Expectation<'static> {
    let fixture = fixture();
    let window = request().window;
    Expectation::of_genesis(&fixture.genesis, fixture.network, &node_id(index), window, block(), now_ms()).unwrap()
}

pub(crate) fn judge(node: &Node, evidence: &Evidence) -> Result<Appraised, AppraiseError> {
    appraise(evidence, &node.log, &expectation(node.index))
}

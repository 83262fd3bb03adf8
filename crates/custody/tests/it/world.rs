//! A small network with real keys, real shares and real certificates: a data owner, a program owner, a requester, and four
//! nodes of which the first three hold the shares (2 of 3) and the last one is drawn as executor.

use std::sync::Arc;

use attest::Appraised;
use custody::{
    AccountKey, Action, ContentKey, Custodian, CustodianConfig, Holder, Message, NodeIdentity, Refusal,
    ReleaseCollector, ReleaseFacts, Sealed, Standing, seal_bytes, split_deposit, wire::ReleasedShare,
};
use finality::{
    Finalized, Head,
    testing::{Chain, Committee},
};
use model::{
    Allow, Assignment, AttestationResult, Blob, BlockRef, Bytes32, Bytes48, Canonical as _, ContentId, CustodyMode,
    Deposit, DepositAck, Digest, Evidence, Fact, Input, Limits, Manifest, Metering, NetworkId, ObjectId, ObjectKind,
    PublishedObject, Record, Registration, ReleaseRequest, Role, Round, Seed, Signed, Task, Terms, TermsApplied,
    TpmEvidence, Verdict, api::DepositRequest,
};

pub(crate) const NETWORK: NetworkId = NetworkId([42; 32]);
pub(crate) const START_MS: u64 = 1_790_000_000_000;
pub(crate) const SECRET: &[u8] = b"patient 7: malignant";

/// One sealed and dealt object.
pub(crate) struct Object {
    pub key: ContentKey,
    pub ciphertext: Vec<u8>,
    pub sealed: Sealed,
    pub manifest: Signed<Manifest>,
    pub requests: Vec<DepositRequest>,
}

impl Object {
    pub(crate) fn id(&self) -> ObjectId {
        self.manifest.object_id()
    }

    /// The owner deals shares of the same key once more.
    pub(crate) fn deal_again(&mut self, owner: &AccountKey, epoch: u32, threshold: u8, holders: &[Holder]) {
        self.requests = split_deposit(&NETWORK, owner, &self.manifest, &self.key, epoch, threshold, holders).unwrap();
    }
}

/// The request with its deposit changed, which `signer` signs as it is then.
pub(crate) fn altered(
    network: &NetworkId,
    signer: &AccountKey,
    request: &DepositRequest,
    change: impl FnOnce(&mut Deposit),
) -> DepositRequest {
    let mut deposit = request.deposit.unverified().clone();
    change(&mut deposit);
    DepositRequest { deposit: signer.sign(network, deposit), ..request.clone() }
}

/// Everything before it is put on the ledger; tests change what they are about, then [`World::stage`] it.
pub(crate) struct World {
    pub mode: CustodyMode,
    pub data_owner: AccountKey,
    pub program_owner: AccountKey,
    pub requester: AccountKey,
    pub nodes: Vec<Arc<NodeIdentity>>,
    pub data: Object,
    pub program: Object,
    pub data_terms: Terms,
    pub program_terms: Terms,
    pub task: Task,
    pub result: AttestationResult,
    pub operator: String,
    /// Last changes to what the ledger says.
    pub edit_terms: Box<dyn Fn(Signed<Terms>) -> Signed<Terms>>,
    pub edit_assignment: Box<dyn Fn(&mut Assignment)>,
    pub edit_verdict: Box<dyn Fn(&mut Verdict)>,
}

/// What is on the ledger, and what time it is.
pub(crate) struct Stage {
    pub chain: Chain,
    pub facts: ReleaseFacts,
    pub now_ms: u64,
    pub evidence: Evidence,
}

pub(crate) fn node_seed(number: u8) -> [u8; 32] {
    [number; 32]
}

impl World {
    pub(crate) fn new() -> Self {
        let account = || AccountKey::generate().unwrap();
        let (data_owner, program_owner, requester) = (account(), account(), account());
        let nodes: Vec<_> = (1..=4).map(|number| Arc::new(NodeIdentity::from_seed(&node_seed(number)))).collect();
        let data = publish(&data_owner, ObjectKind::Data, SECRET, &nodes[..3], 2);
        let program = publish(&program_owner, ObjectKind::Program, b"\0asm secret program", &nodes[..3], 2);
        let task = Task {
            requester: requester.account(),
            nonce: 7,
            program: program.id(),
            inputs: vec![Input { name: "patients.csv".into(), object: data.id() }],
            args: vec![],
            limits: Limits { run_ms: 10_000, memory_bytes: 64 << 20, output_bytes: 1 << 20 },
            metering: Metering::None,
            seed: Bytes32([0; 32]),
            result_key: requester.result_key(&NETWORK).public(),
            price_max: 100,
        };
        Self {
            mode: CustodyMode::Development,
            data_terms: terms(&data_owner, data.id()),
            program_terms: terms(&program_owner, program.id()),
            data_owner,
            program_owner,
            requester,
            nodes,
            data,
            program,
            task,
            result: AttestationResult { simulated: true, self_measured: true, release_counter: 1 },
            operator: "the executor's operator".into(),
            edit_terms: Box::new(|terms| terms),
            edit_assignment: Box::new(|_| {}),
            edit_verdict: Box::new(|_| {}),
        }
    }

    pub(crate) fn executor(&self) -> &Arc<NodeIdentity> {
        &self.nodes[3]
    }

    /// Puts everything on a ledger: one block for each step of the story.
    pub(crate) fn stage(&self) -> Stage {
        let mut chain = Committee::deal(1).chain(NETWORK);
        let registration = self.registration();
        let evidence = evidence(&registration);
        let verdict = self.verdict(&registration, &evidence);
        chain.block(START_MS, vec![Fact::Registration(Box::new(registration)), Fact::Verdict(Box::new(verdict))]);
        let verdict = digest_of(&chain, 1);

        let terms = [
            (self.edit_terms)(self.program_owner.sign(&NETWORK, self.program_terms.clone())),
            (self.edit_terms)(self.data_owner.sign(&NETWORK, self.data_terms.clone())),
        ];
        chain.block(START_MS + 1_000, vec![published(&self.program, &self.nodes), published(&self.data, &self.nodes)]);
        chain.block(START_MS + 2_000, terms.iter().cloned().map(|terms| Fact::Terms(Box::new(terms))).collect());
        chain.block(START_MS + 3_000, vec![Fact::Task(Box::new(self.task.clone()))]);

        let mut assignment = self.assignment(verdict, &terms);
        (self.edit_assignment)(&mut assignment);
        chain.block(START_MS + 4_000, vec![Fact::Assignment(Box::new(assignment))]);
        let facts = self.facts(&chain, chain.height());
        Stage { chain, facts, now_ms: START_MS + 4_500, evidence }
    }

    /// The facts as a node sees them whose newest block is `height`.
    pub(crate) fn facts(&self, chain: &Chain, height: u64) -> ReleaseFacts {
        let (head, records) = finalized(chain, height);
        self.facts_of(head, records)
    }

    /// The facts about the newest assignment among these records.
    pub(crate) fn facts_of(&self, head: Head, records: Vec<Finalized<Record>>) -> ReleaseFacts {
        let is_assignment = |record: &&Finalized<Record>| matches!(record.get().fact, Fact::Assignment(_));
        let assignment = records.iter().rfind(is_assignment).unwrap().digest();
        ReleaseFacts::from_records(head, self.task.id(), assignment, records).unwrap()
    }

    fn registration(&self) -> Registration {
        Registration {
            node: self.executor().node_id(),
            sealing_key: self.executor().sealing_public(),
            operator: self.operator.clone(),
            region: "here".into(),
            endorsement: Digest([1; 32]),
            attestation_key: Blob(vec![2; 34]),
        }
    }

    fn verdict(&self, registration: &Registration, evidence: &Evidence) -> Verdict {
        let mut verdict = Verdict {
            node: self.executor().node_id(),
            registration: registration.digest(),
            evidence: evidence.block_id(),
            window: 1,
            result: self.result,
            seed: Seed { round: Round { epoch: 0, view: 1 }, signature: Bytes48([0; 48]) },
            drawn: vec![],
            votes: vec![],
            expires_ms: START_MS + 600_000,
        };
        (self.edit_verdict)(&mut verdict);
        verdict
    }

    fn assignment(&self, verdict: Digest, terms: &[Signed<Terms>]) -> Assignment {
        let applied = |terms: &Signed<Terms>| TermsApplied {
            object: terms.unverified().object,
            serial: terms.unverified().serial,
            digest: terms.digest(),
        };
        let caps = terms.iter().filter_map(|terms| terms.unverified().output_bytes_max);
        Assignment {
            task: self.task.id(),
            attempt: 1,
            executor: self.executor().node_id(),
            seed: Seed { round: Round { epoch: 0, view: 5 }, signature: Bytes48([0; 48]) },
            eligible_root: Digest([0; 32]),
            eligible_size: 1,
            index: 0,
            path: vec![],
            verdict,
            terms: terms.iter().map(applied).collect(),
            output_bytes_max: caps.chain([self.task.limits.output_bytes]).min().unwrap(),
            deadline_ms: START_MS + 60_000,
        }
    }

    pub(crate) fn config(&self) -> CustodianConfig {
        CustodianConfig { network: NETWORK, mode: self.mode, operator: "the custodian's operator".into() }
    }

    /// A custodian that holds nothing.
    pub(crate) fn empty_custodian(&self, position: usize) -> Custodian {
        Custodian::new(self.config(), self.nodes[position].clone(), [position as u8; 32])
    }

    /// A custodian that holds its shares of both objects.
    pub(crate) fn custodian(&self, position: usize) -> Custodian {
        let mut custodian = self.empty_custodian(position);
        for object in [&self.program, &self.data] {
            let request = object.requests[position].clone();
            custodian.handle(START_MS, deposit(request)).unwrap();
        }
        custodian
    }

    pub(crate) fn collector(&self, stage: &Stage) -> ReleaseCollector {
        let objects: Vec<_> = stage.facts.objects.iter().map(|facts| facts.object.clone()).collect();
        ReleaseCollector::new(NETWORK, &stage.facts.task, &stage.facts.assignment, &objects).unwrap()
    }
}

impl Stage {
    /// The custodian appraises the evidence behind the executor's verdict.
    pub(crate) fn appraise(&self, world: &World, custodian: &mut Custodian) {
        let appraised = Box::new(Appraised::for_tests(self.evidence.clone(), world.result));
        let verdict = Box::new(self.facts.verdict.clone());
        custodian.handle(self.now_ms, Message::Appraised { appraised, verdict }).unwrap();
    }

    /// The custodian is shown what is final.
    pub(crate) fn show(&self, custodian: &mut Custodian, records: Vec<Finalized<Record>>) {
        for record in records {
            custodian.handle(self.now_ms, Message::Final(Box::new(record))).unwrap();
        }
    }

    /// Hello, nonce, request: the executor's part until it has something to send.
    pub(crate) fn signed_request(
        &self,
        world: &World,
        custodian: &mut Custodian,
        position: usize,
        collector: &ReleaseCollector,
    ) -> Signed<ReleaseRequest> {
        let nonce = self.nonce(custodian, collector);
        collector.request(world.executor(), world.nodes[position].node_id(), nonce)
    }

    pub(crate) fn nonce(&self, custodian: &mut Custodian, collector: &ReleaseCollector) -> Bytes32 {
        let actions = custodian.handle(self.now_ms, Message::Hello(collector.hello())).unwrap();
        let [Action::Nonce(nonce)] = actions[..] else { panic!("{actions:?}") };
        nonce
    }

    /// The whole conversation with one custodian, appraisal included.
    pub(crate) fn ask(
        &self,
        world: &World,
        custodian: &mut Custodian,
        position: usize,
        collector: &ReleaseCollector,
    ) -> Result<Vec<Action>, Refusal> {
        self.appraise(world, custodian);
        let request = self.signed_request(world, custodian, position, collector);
        self.send(custodian, request)
    }

    pub(crate) fn send(
        &self,
        custodian: &mut Custodian,
        request: Signed<ReleaseRequest>,
    ) -> Result<Vec<Action>, Refusal> {
        let (request, facts) = (Box::new(request), Box::new(self.facts.clone()));
        custodian.handle(self.now_ms, Message::Request { request, facts })
    }

    /// The refusal of a custodian that has appraised the executor and is asked in the proper form.
    pub(crate) fn refusal(&self, world: &World) -> Refusal {
        let mut custodian = world.custodian(0);
        self.ask(world, &mut custodian, 0, &world.collector(self)).expect_err("it must not release")
    }
}

pub(crate) fn released(actions: &[Action]) -> Vec<ReleasedShare> {
    match actions.last() {
        Some(Action::Release(shares)) => shares.clone(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn publish(
    owner: &AccountKey,
    kind: ObjectKind,
    plaintext: &[u8],
    holders: &[Arc<NodeIdentity>],
    threshold: u8,
) -> Object {
    let key = ContentKey::generate().unwrap();
    let (ciphertext, sealed) = seal_bytes(plaintext, &key).unwrap();
    let manifest = Manifest {
        kind,
        owner: owner.account(),
        ciphertext: ContentId::of_raw(&ciphertext),
        ciphertext_bytes: ciphertext.len() as u64,
        leaves: ContentId::of_raw(&sealed.leaves),
        seal: sealed.seal.clone(),
        description: None,
        sample: None,
    };
    let manifest = owner.sign(&NETWORK, manifest);
    let requests = split_deposit(&NETWORK, owner, &manifest, &key, 1, threshold, &holders_of(holders)).unwrap();
    Object { key, ciphertext, sealed, manifest, requests }
}

/// A deposit by an owner who can pay.
pub(crate) fn deposit(request: DepositRequest) -> Message {
    let standing = Standing { balance: 1000, needed: 10, observed_ms: START_MS };
    Message::Deposit { request: Box::new(request), standing }
}

pub(crate) fn holders_of(nodes: &[Arc<NodeIdentity>]) -> Vec<Holder> {
    nodes.iter().map(|node| Holder { node: node.node_id(), sealing_key: node.sealing_public() }).collect()
}

pub(crate) fn terms(owner: &AccountKey, object: ObjectId) -> Terms {
    Terms {
        object,
        owner: owner.account(),
        serial: 1,
        price: 5,
        requesters: Allow::Any,
        counterparts: Allow::Any,
        uses_max: None,
        expires_ms: None,
        output_bytes_max: None,
        revoked: false,
    }
}

/// Every record that is final at `height`.
pub(crate) fn finalized(chain: &Chain, height: u64) -> (Head, Vec<Finalized<Record>>) {
    let size = chain.network().check_head(&chain.head_at(height)).unwrap().log_size();
    let indices: Vec<u64> = (0..size).collect();
    chain.network().check_proven(&chain.prove_at(height, &indices)).unwrap()
}

pub(crate) fn ack(object: &Object, node: &NodeIdentity, index: u8) -> Signed<DepositAck> {
    let deposit = object.requests[0].deposit.unverified().digest();
    node.sign(&NETWORK, DepositAck { deposit, index, custodian: node.node_id() })
}

fn published(object: &Object, nodes: &[Arc<NodeIdentity>]) -> Fact {
    let deposit = object.requests[0].deposit.clone();
    let acks =
        (1..).zip(nodes).take(deposit.unverified().custodians.len()).map(|(index, node)| ack(object, node, index));
    Fact::Object(Box::new(PublishedObject {
        manifest: object.manifest.clone(),
        deposit_acks: acks.collect(),
        deposit,
        storage: vec![],
    }))
}

fn digest_of(chain: &Chain, index: usize) -> Digest {
    finalized(chain, chain.height()).1[index].digest()
}

fn evidence(registration: &Registration) -> Evidence {
    Evidence {
        registration: registration.clone(),
        role: Role::Executor,
        window: 1,
        block: BlockRef { height: 0, time_ms: START_MS, digest: Digest([0; 32]) },
        tpm: TpmEvidence {
            endorsement_chain: vec![],
            attestation_key: Blob(vec![]),
            quote: Blob(vec![]),
            signature: Blob(vec![]),
            pcrs: vec![],
            log: ContentId::of_dag_cbor(b"log"),
        },
    }
}

/// A node that belongs to no test's network.
pub(crate) fn stranger() -> Arc<NodeIdentity> {
    Arc::new(NodeIdentity::from_seed(&node_seed(99)))
}

//! A small network in memory: four attested nodes, an owner of data, an owner of a program, a requester.
//!
//! Every block that a test makes is executed twice, proposed and verified, and after it all credits are counted.

use std::sync::LazyLock;

use ed25519_dalek::{Signer as _, SigningKey};
use ledger::{
    BlockInput, Executed, Memo, MemoryState, Mode, Reads, Refusal, Stop, appraisers, execute_remembering, key,
    state::{AccountState, NodeState, ObjectState, OpenTask, Pages, Roster, Schedule, TaskState, Windows},
};
use model::*;

pub(crate) const NODES: u8 = 4;
pub(crate) const SUPPLY: u64 = 1_000_000;
pub(crate) const WINDOW_MS: u64 = 60_000;
pub(crate) const VERDICT_MS: u64 = 200_000;

/// A key that tests sign with.
#[derive(Clone)]
pub(crate) struct Key(SigningKey);

impl Key {
    pub(crate) fn new(seed: u8) -> Self {
        Self(SigningKey::from_bytes(&[seed; 32]))
    }

    pub(crate) fn id(&self) -> AccountId {
        AccountId(self.0.verifying_key().to_bytes())
    }

    /// What the key is made of.
    pub(crate) fn seed(&self) -> Bytes32 {
        Bytes32(self.0.to_bytes())
    }

    pub(crate) fn sign<T: Signable>(&self, network: &NetworkId, body: T) -> Signed<T> {
        let signature = self.0.sign(&Signed::message(network, &body));
        Signed::assemble(body, Bytes64(signature.to_bytes()))
    }
}

pub(crate) struct World {
    pub(crate) genesis: Genesis,
    pub(crate) network: NetworkId,
    pub(crate) state: MemoryState,
    pub(crate) height: u64,
    pub(crate) time_ms: u64,
    /// Everything in the log.
    pub(crate) records: Vec<Record>,
    pub(crate) memo: Memo,
    pub(crate) last: Executed,
}

pub(crate) fn node_key(index: u8) -> Key {
    Key::new(100 + index)
}

pub(crate) fn nodes() -> Vec<Key> {
    let mut nodes: Vec<Key> = (0..NODES).map(node_key).collect();
    nodes.sort_by_key(Key::id);
    nodes
}

pub(crate) fn data_owner() -> Key {
    Key::new(1)
}

pub(crate) fn program_owner() -> Key {
    Key::new(2)
}

pub(crate) fn requester() -> Key {
    Key::new(3)
}

pub(crate) fn stranger() -> Key {
    Key::new(4)
}

fn owner_key(owner: &AccountId) -> Key {
    let keys = [data_owner(), program_owner(), requester(), stranger()];
    keys.into_iter().chain(nodes()).find(|key| key.id() == *owner).unwrap()
}

pub(crate) fn genesis() -> Genesis {
    let validators = nodes()
        .iter()
        .enumerate()
        .map(|(at, node)| Validator {
            node: node.id(),
            operator: format!("operator {at}"),
            region: format!("region {at}"),
            endorsement: Digest::of(&node.id().0),
        })
        .collect();
    let mut allocations: Vec<Allocation> = [data_owner(), program_owner(), requester()]
        .iter()
        .chain(&nodes())
        .map(|key| (key.id(), 10_000))
        .chain([(AccountId::FAUCET, SUPPLY - 70_000)])
        .map(|(account, amount)| Allocation { account, amount })
        .collect();
    allocations.sort_by_key(|allocation| allocation.account);
    Genesis {
        version: 1,
        name: "test".into(),
        created_ms: 1,
        network_key: Bytes96([0; 96]),
        sharing: Blob(vec![]),
        validators,
        trust_anchors: TrustAnchors { hardware: vec![], simulated: vec![Blob(vec![1])] },
        appraisal: AppraisalPolicy {
            release_key: Blob(vec![]),
            release_counter_min: 0,
            pcrs: vec![14],
            verdict_ms: VERDICT_MS,
            window_ms: WINDOW_MS,
            appraisers: 3,
            evidence_age_ms_max: 60_000,
        },
        custody: CustodyMode::Development,
        fees: FeeSchedule {
            transaction: 1,
            transaction_kib: 1,
            appraisal: 2,
            executor: 10,
            executor_second: 1,
            executor_64mib: 1,
            custodians: 7,
            storage: 3,
            validators: 9,
        },
        limits: NetworkLimits {
            program_bytes: 10_000,
            task: Limits { run_ms: 60_000, memory_bytes: 1 << 30, output_bytes: 1 << 20 },
            slots_per_node: 1,
            copies: 2,
            storage_ms: 86_400_000,
            overhead_ms: 20_000,
        },
        allocations,
        top_up_max: 5_000,
    }
}

pub(crate) fn seed(height: u64) -> Seed {
    let (a, b) = (Digest::of(&height.to_be_bytes()).0, Digest::of(&[1]).0);
    let mut signature = [0; 48];
    signature[..32].copy_from_slice(&a);
    signature[32..].copy_from_slice(&b[..16]);
    Seed { round: Round { epoch: 0, view: height }, signature: Bytes48(signature) }
}

impl World {
    /// A network on which all four nodes have a verdict.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Genesis)) -> Self {
        let mut world = Self::unattested(change);
        world.attest_all();
        world
    }

    /// A network on which no node has a verdict yet.
    pub(crate) fn unattested(change: impl FnOnce(&mut Genesis)) -> Self {
        let mut genesis = genesis();
        change(&mut genesis);
        let network = genesis.network_id();
        let mut world = Self {
            genesis,
            network,
            state: MemoryState::default(),
            height: 0,
            time_ms: 10 * WINDOW_MS,
            records: vec![],
            memo: Memo::default(),
            last: Executed::default(),
        };
        world.block(vec![]);
        world.block(vec![]);
        world
    }

    pub(crate) fn input<'a>(&self, transactions: &'a [Vec<u8>]) -> BlockInput<'a> {
        let height = self.height + 1;
        BlockInput { height, time_ms: self.time_ms + 100, seed: (height > 1).then(|| seed(height)), transactions }
    }

    /// Makes a block of transactions that must all be accepted.
    pub(crate) fn block(&mut self, transactions: Vec<Vec<u8>>) -> Vec<Record> {
        let (records, refused) = self.propose(transactions);
        assert_eq!(refused, [], "height {}", self.height);
        records
    }

    /// Makes a block of whatever is accepted.
    pub(crate) fn propose(&mut self, transactions: Vec<Vec<u8>>) -> (Vec<Record>, Vec<(usize, Refusal)>) {
        let run = |world: &Self, list: &[Vec<u8>], mode| {
            execute_remembering(&world.genesis, &world.network, &world.input(list), &world.state, mode, &world.memo)
        };
        let proposed = run(self, &transactions, Mode::Propose).unwrap();
        let included: Vec<_> = proposed.included.iter().map(|at| transactions[*at].clone()).collect();
        let verified = run(self, &included, Mode::Verify).unwrap();
        assert_eq!((&proposed.writes, &proposed.records), (&verified.writes, &verified.records));
        assert_eq!(proposed.due, verified.due);
        if !proposed.refused.is_empty() {
            assert!(matches!(run(self, &transactions, Mode::Verify), Err(Stop::Transaction { .. })));
        }
        let BlockInput { height, time_ms, .. } = self.input(&[]);
        (self.height, self.time_ms) = (height, time_ms);
        self.state.apply(&proposed);
        assert_eq!(self.sum(), SUPPLY, "credits at height {height}");
        let records: Vec<Record> =
            proposed.records.iter().map(|bytes| Record::from_bytes(bytes, Record::BYTES_MAX).unwrap()).collect();
        assert!(records.iter().all(|record| (record.height, record.time_ms) == (height, time_ms)));
        self.records.extend(records.clone());
        self.last = Executed { refused: vec![], ..proposed.clone() };
        self.check_log();
        (records, proposed.refused)
    }

    /// No fact stands in the log twice.
    fn check_log(&self) {
        let mut ids: Vec<_> = self.records.iter().map(|record| record.fact.id()).collect();
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "a fact was recorded twice");
    }

    /// Makes a block with one transaction that must be refused; nothing may change.
    pub(crate) fn refused(&mut self, transaction: Vec<u8>) -> Refusal {
        let account =
            |world: &Self| -> Vec<AccountState> { world.everybody().iter().map(|id| world.account(id)).collect() };
        let before = account(self);
        let (records, mut refused) = self.propose(vec![transaction]);
        assert_eq!(records, [], "a refused transaction leaves no record");
        assert_eq!(account(self), before, "a refused transaction moves no credit");
        assert_eq!(refused.len(), 1, "it was accepted");
        let refusal = refused.remove(0).1;
        assert!(!refusal.hint().is_empty() && !refusal.to_string().is_empty());
        refusal
    }

    /// Empty blocks.
    pub(crate) fn blocks(&mut self, count: usize) -> Vec<Record> {
        (0..count).flat_map(|_| self.block(vec![])).collect()
    }

    /// Lets ledger time pass.
    pub(crate) fn pass(&mut self, ms: u64) -> Vec<Record> {
        self.time_ms += ms;
        self.block(vec![])
    }

    pub(crate) fn get<T: Canonical>(&self, key: &ledger::Key) -> Option<T> {
        self.state.read(key).flatten().map(|bytes| T::from_bytes(&bytes, usize::MAX).unwrap())
    }

    pub(crate) fn account(&self, account: &AccountId) -> AccountState {
        self.get(&key::account(account)).unwrap_or_default()
    }

    pub(crate) fn balance(&self, account: &AccountId) -> u64 {
        self.account(account).balance
    }

    pub(crate) fn object(&self, object: &ObjectId) -> ObjectState {
        self.get(&key::object(object)).unwrap()
    }

    pub(crate) fn node(&self, node: &NodeId) -> NodeState {
        self.get(&key::node(node)).unwrap()
    }

    pub(crate) fn task(&self, task: &TaskId) -> TaskState {
        self.get(&key::task(task)).unwrap()
    }

    pub(crate) fn open(&self, task: &TaskId) -> OpenTask {
        match self.task(task) {
            TaskState::Open(open) => *open,
            TaskState::Settled(settled) => panic!("settled: {settled:?}"),
        }
    }

    pub(crate) fn schedule(&self) -> Schedule {
        self.get(&key::schedule()).unwrap_or_default()
    }

    /// A list of the schedule, read page by page.
    pub(crate) fn pages<T: Canonical + Copy>(&self, list: &str, head: &Pages<T>) -> Vec<T> {
        let entries: Vec<T> =
            head.numbers().flat_map(|number| self.get::<Vec<T>>(&key::page(list, number)).unwrap()).collect();
        assert_eq!(entries.len(), head.len());
        entries
    }

    pub(crate) fn roster(&self) -> Roster {
        self.get(&key::roster()).unwrap_or_default()
    }

    /// Every account that a test may use.
    pub(crate) fn everybody(&self) -> &'static [AccountId] {
        static ALL: LazyLock<Vec<AccountId>> = LazyLock::new(|| {
            let mut all: Vec<_> = (1..=40).map(|seed| Key::new(seed).id()).collect();
            all.extend(nodes().iter().map(Key::id));
            all.extend([AccountId::ESCROW, AccountId::TREASURY, AccountId::FAUCET]);
            all
        });
        &ALL
    }

    pub(crate) fn sum(&self) -> u64 {
        self.everybody().iter().map(|account| self.balance(account)).sum()
    }

    /// A signed transaction with the sender's next nonce.
    pub(crate) fn transaction(&self, sender: &Key, action: Action) -> Vec<u8> {
        self.transaction_at(sender, self.account(&sender.id()).nonce, action)
    }

    pub(crate) fn transaction_at(&self, sender: &Key, nonce: u64, action: Action) -> Vec<u8> {
        sender.sign(&self.network, Transaction { account: sender.id(), nonce, action }).to_bytes()
    }

    pub(crate) fn fee(&self, transaction: &[u8]) -> u64 {
        ledger::transaction_fee(&self.genesis.fees, transaction.len()).unwrap()
    }

    // --- nodes ---

    pub(crate) fn window(&self) -> u64 {
        self.time_ms / WINDOW_MS
    }

    pub(crate) fn registration(&self, node: &Key) -> Registration {
        let approved = self.genesis.validator(&node.id()).unwrap();
        Registration {
            node: node.id(),
            // Any bytes without high digits are a key.
            sealing_key: Blob([&node.id().0.map(|byte| byte & 0x77)[..]; 38].concat()),
            operator: approved.operator.clone(),
            region: approved.region.clone(),
            endorsement: approved.endorsement,
            attestation_key: Blob(vec![0, 11, 1]),
        }
    }

    pub(crate) fn drawn(&self, node: &NodeId, window: u64) -> Vec<NodeId> {
        let windows: Windows = self.get(&key::windows()).unwrap();
        let seed = windows.seed(window, &self.genesis.appraisal, self.time_ms).unwrap();
        appraisers(&self.genesis, &seed, node)
    }

    pub(crate) fn vote(&self, registration: &Registration, appraiser: NodeId, window: u64) -> AppraisalVote {
        AppraisalVote {
            subject: registration.node,
            registration: registration.digest(),
            evidence: ContentId::of_dag_cbor(&window.to_be_bytes()),
            window,
            result: AttestationResult { simulated: true, self_measured: true, release_counter: 1 },
            appraiser,
        }
    }

    pub(crate) fn sign_as(&self, node: &NodeId) -> Key {
        nodes().into_iter().find(|key| key.id() == *node).unwrap()
    }

    pub(crate) fn attestation(&self, node: &Key) -> Attestation {
        let (registration, window) = (self.registration(node), self.window());
        let votes = self.drawn(&node.id(), window);
        let votes = votes
            .iter()
            .map(|appraiser| self.sign_as(appraiser).sign(&self.network, self.vote(&registration, *appraiser, window)));
        Attestation { votes: votes.collect(), registration }
    }

    pub(crate) fn attest(&self, node: &Key) -> Vec<u8> {
        self.transaction(node, Action::Attest(Box::new(self.attestation(node))))
    }

    pub(crate) fn attest_all(&mut self) {
        let list = nodes().iter().map(|node| self.attest(node)).collect();
        self.block(list);
    }

    /// All nodes that are due get a new verdict.
    pub(crate) fn renew(&mut self) {
        let window = self.window();
        let known = |node: &Key| self.get::<NodeState>(&key::node(&node.id())).map(|state| state.window);
        let due: Vec<_> = nodes().into_iter().filter(|node| known(node) != Some(window)).collect();
        let list = due.iter().map(|node| self.attest(node)).collect();
        self.block(list);
    }

    // --- objects ---

    pub(crate) fn storage(&self, content: ContentId, bytes: u64, not: &AccountId) -> Vec<Signed<StorageAck>> {
        let until_ms = self.time_ms + self.genesis.limits.storage_ms;
        let others: Vec<_> = nodes().into_iter().filter(|node| node.id() != *not).take(2).collect();
        others
            .iter()
            .map(|node| node.sign(&self.network, StorageAck { content, bytes, until_ms, node: node.id() }))
            .collect()
    }

    pub(crate) fn manifest(&self, owner: &Key, kind: ObjectKind, name: &str) -> Manifest {
        Manifest {
            kind,
            owner: owner.id(),
            ciphertext: ContentId::of_raw(format!("{name} ciphertext").as_bytes()),
            ciphertext_bytes: 5_000,
            leaves: ContentId::of_raw(format!("{name} leaves").as_bytes()),
            seal: seal(),
            description: None,
            sample: None,
        }
    }

    pub(crate) fn published(&self, owner: &Key, kind: ObjectKind, name: &str) -> PublishedObject {
        let manifest = owner.sign(&self.network, self.manifest(owner, kind, name));
        self.publish_manifest(manifest)
    }

    pub(crate) fn publish_manifest(&self, manifest: Signed<Manifest>) -> PublishedObject {
        let custodians = nodes().into_iter().take(3).map(|node| Custodian {
            node: node.id(),
            sealing_key: Digest::of(&self.registration(&node).sealing_key.0),
            commitment: Digest::of(&node.id().0),
        });
        let body = manifest.unverified();
        let (ciphertext, leaves, owner, bytes) = (body.ciphertext, body.leaves, body.owner, body.ciphertext_bytes);
        let deposit =
            Deposit { object: manifest.object_id(), owner, epoch: 1, threshold: 2, custodians: custodians.collect() };
        let deposit = owner_key(&owner).sign(&self.network, deposit);
        let mut storage = self.storage(ciphertext, bytes, &owner);
        storage.extend(self.storage(leaves, 48, &owner));
        self.with_acks(PublishedObject { manifest, deposit, deposit_acks: vec![], storage })
    }

    /// Lets all custodians acknowledge the deposit as it is, and puts storage acknowledgements in order.
    pub(crate) fn with_acks(&self, mut object: PublishedObject) -> PublishedObject {
        let deposit = object.deposit.unverified();
        let digest = deposit.digest();
        let custodians = deposit.custodians.iter().zip(1..);
        object.deposit_acks = custodians
            .map(|(custodian, index)| {
                let ack = DepositAck { deposit: digest, index, custodian: custodian.node };
                self.sign_as(&custodian.node).sign(&self.network, ack)
            })
            .collect();
        object.storage.sort_by_key(|ack| (ack.unverified().content, ack.unverified().node));
        object
    }

    /// Changes the deposit; whoever is its owner then signs it.
    pub(crate) fn redeposit(&self, object: &mut PublishedObject, change: impl FnOnce(&mut Deposit)) {
        let mut deposit = object.deposit.unverified().clone();
        change(&mut deposit);
        object.deposit = owner_key(&deposit.owner).sign(&self.network, deposit);
    }

    pub(crate) fn terms(&self, owner: &Key, object: ObjectId, price: u64) -> Terms {
        Terms {
            object,
            owner: owner.id(),
            serial: 1,
            price,
            requesters: Allow::Any,
            counterparts: Allow::Any,
            uses_max: None,
            expires_ms: None,
            output_bytes_max: None,
            revoked: false,
        }
    }

    pub(crate) fn publish_action(&self, owner: &Key, object: PublishedObject, terms: Terms) -> Vec<u8> {
        let terms = Box::new(owner.sign(&self.network, terms));
        self.transaction(owner, Action::Publish { object: Box::new(object), terms })
    }

    pub(crate) fn publish(
        &mut self,
        owner: &Key,
        kind: ObjectKind,
        name: &str,
        change: impl FnOnce(&mut Terms),
    ) -> ObjectId {
        let object = self.published(owner, kind, name);
        let id = object.manifest.object_id();
        let mut terms = self.terms(owner, id, 5);
        change(&mut terms);
        let transaction = self.publish_action(owner, object, terms);
        self.block(vec![transaction]);
        id
    }

    /// A program and data that anybody may use, for 5 credits each.
    pub(crate) fn publish_both(&mut self) -> (ObjectId, ObjectId) {
        let program = self.publish(&program_owner(), ObjectKind::Program, "program", |_| {});
        (program, self.publish(&data_owner(), ObjectKind::Data, "data", |_| {}))
    }

    pub(crate) fn set_terms(&self, owner: &Key, object: ObjectId, change: impl FnOnce(&mut Terms)) -> Vec<u8> {
        let mut terms: Terms = self.get(&key::terms(&object)).unwrap();
        terms.serial += 1;
        change(&mut terms);
        self.transaction(owner, Action::SetTerms { terms: Box::new(owner.sign(&self.network, terms)) })
    }

    // --- tasks ---

    pub(crate) fn ask(&self, program: ObjectId, data: ObjectId) -> Task {
        Task {
            requester: requester().id(),
            nonce: self.account(&requester().id()).nonce,
            program,
            inputs: vec![Input { name: "patients.csv".into(), object: data }],
            args: vec![],
            limits: Limits { run_ms: 2_000, memory_bytes: 64 << 20, output_bytes: 1_000 },
            metering: Metering::None,
            seed: Bytes32([0; 32]),
            result_key: Blob(vec![7; 1216]),
            price_max: 1_000,
        }
    }

    pub(crate) fn submit_action(&self, task: &Task) -> Vec<u8> {
        self.transaction_at(&requester(), task.nonce, Action::Submit { task: Box::new(task.clone()) })
    }

    /// Submits a task and waits for the draw.
    pub(crate) fn assigned(&mut self, program: ObjectId, data: ObjectId) -> TaskId {
        let task = self.ask(program, data);
        let submit = self.submit_action(&task);
        self.block(vec![submit]);
        self.blocks(2);
        assert!(self.open(&task.id()).assigned.is_some());
        task.id()
    }

    pub(crate) fn executor(&self, task: &TaskId) -> Key {
        self.sign_as(&self.open(task).assigned.unwrap().executor)
    }

    /// Releases of the first `count` shares of every object of the task.
    pub(crate) fn releases(&self, task: &TaskId, count: u8) -> Vec<Signed<Release>> {
        let open = self.open(task);
        let assigned = open.assigned.unwrap();
        let objects = open.task.objects().zip(&assigned.terms);
        objects
            .flat_map(|(object, terms)| {
                let state = self.object(&object);
                (1..=count).map(move |index| (object, *terms, state.custodians[usize::from(index) - 1], index))
            })
            .map(|(object, terms, custodian, index)| {
                let release = Release {
                    task: *task,
                    attempt: open.attempt,
                    object,
                    epoch: 1,
                    index,
                    custodian,
                    executor: assigned.executor,
                    ephemeral_key: Digest::of(b"ephemeral"),
                    terms,
                };
                self.sign_as(&custodian).sign(&self.network, release)
            })
            .collect()
    }

    pub(crate) fn receipt(&self, task: &TaskId, outcome: Outcome) -> Receipt {
        let open = self.open(task);
        let assigned = open.assigned.unwrap();
        Receipt {
            task: *task,
            attempt: open.attempt,
            executor: assigned.executor,
            assignment: assigned.record,
            outcome,
        }
    }

    pub(crate) fn completion(&self, task: &TaskId, outcome: Outcome) -> Completion {
        let receipt = self.receipt(task, outcome);
        let executor = self.executor(task);
        let storage = match &receipt.outcome {
            Outcome::Done(result) => {
                let mut storage = self.storage(result.ciphertext, result.ciphertext_bytes, &executor.id());
                storage.extend(self.storage(result.leaves, 48, &executor.id()));
                storage.sort_by_key(|ack| (ack.unverified().content, ack.unverified().node));
                storage
            }
            Outcome::Failed(_) => vec![],
        };
        let releases = match &receipt.outcome {
            Outcome::Failed(class) if !class.guest_at_fault() => vec![],
            _ => self.releases(task, 2),
        };
        Completion { receipt: executor.sign(&self.network, receipt), releases, storage }
    }

    /// The completion of a success.
    pub(crate) fn done(&self, task: &TaskId) -> Completion {
        self.completion(task, Outcome::Done(Box::new(result())))
    }

    pub(crate) fn complete(&self, completion: &Completion) -> Vec<u8> {
        let executor = self.sign_as(&completion.receipt.unverified().executor);
        self.transaction(&executor, Action::Complete(Box::new(completion.clone())))
    }
}

pub(crate) fn seal() -> Seal {
    Seal {
        suite: Suite::Aes256GcmXWing,
        salt: Bytes32([1; 32]),
        key_commitment: Bytes32([2; 32]),
        chunk_bytes: 1 << 20,
        chunks: 1,
        plaintext_root: Digest::of(b"plaintext"),
        sealed_meta: Blob(vec![3; 56]),
    }
}

pub(crate) fn result() -> ResultSeal {
    ResultSeal {
        ciphertext: ContentId::of_raw(b"result"),
        ciphertext_bytes: 4_112,
        leaves: ContentId::of_raw(b"result leaves"),
        seal: seal(),
        wrapped_key: Blob(vec![4; 1168]),
    }
}

pub(crate) fn settlement(records: &[Record]) -> Settlement {
    let found = records.iter().find_map(|record| match &record.fact {
        Fact::Settlement(settlement) => Some((**settlement).clone()),
        _ => None,
    });
    found.expect("a settlement")
}

pub(crate) fn assignment(records: &[Record]) -> Assignment {
    let found = records.iter().find_map(|record| match &record.fact {
        Fact::Assignment(assignment) => Some((**assignment).clone()),
        _ => None,
    });
    found.expect("an assignment")
}

//! One task on a network of four nodes, by the rules of the real ledger, certified by a real committee.
//!
//! A test may then change facts as no honest ledger would have accepted them, and have the committee certify that.

use std::sync::LazyLock;

use ed25519_dalek::{Signer as _, SigningKey};
use finality::testing::{Chain, Committee};
use ledger::{
    BlockInput, MemoryState, Mode, Reads, execute, key,
    state::{AccountState, NodeState, ObjectState, OpenTask, TaskState, Windows},
};
use model::*;
use proof::{Network, Proof};

use crate::fixture::Fixture;

pub(crate) struct Key(SigningKey);

impl Key {
    pub(crate) fn new(seed: u8) -> Self {
        Self(SigningKey::from_bytes(&[seed; 32]))
    }

    pub(crate) fn id(&self) -> AccountId {
        AccountId(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn sign<T: Signable>(&self, network: &NetworkId, body: T) -> Signed<T> {
        let signature = self.0.sign(&Signed::message(network, &body));
        Signed::assemble(body, Bytes64(signature.to_bytes()))
    }
}

pub(crate) fn node_key(index: u8) -> Key {
    Key::new(100 + index)
}

pub(crate) fn key_of(node: &NodeId) -> Key {
    (0..4).map(node_key).find(|key| key.id() == *node).expect("one of the four nodes")
}

pub(crate) fn sealing_key(index: u8) -> Blob {
    Blob(vec![index; 1216])
}

/// What the owners let out, unless a test says otherwise.
pub(crate) const OUTPUT_BYTES_MAX: u64 = 60_000;

pub(crate) fn data_owner() -> Key {
    Key::new(1)
}

pub(crate) fn program_owner() -> Key {
    Key::new(2)
}

pub(crate) fn requester() -> Key {
    Key::new(3)
}

const WINDOW_MS: u64 = 300_000;

#[derive(Clone)]
pub(crate) struct Story {
    pub(crate) genesis: Genesis,
    /// What the blocks are executed by: the genesis, but programs may be as long as they like.
    pub(crate) rules: Genesis,
    pub(crate) network: NetworkId,
    pub(crate) committee: Committee,
    chain: Chain,
    state: MemoryState,
    time_ms: u64,
    /// The facts of each block, with its time.
    pub(crate) blocks: Vec<(u64, Vec<Fact>)>,
    /// The state before each block, and its transactions.
    pub(crate) steps: Vec<(MemoryState, Vec<Vec<u8>>)>,
    pub(crate) task: TaskId,
    pub(crate) evidence: Vec<u8>,
    pub(crate) event_log: Vec<u8>,
    nodes: Vec<(Digest, Blob)>,
}

fn genesis(fixture: &Fixture, key: Bytes96) -> Genesis {
    let mut validators: Vec<_> = (0..4u8)
        .map(|index| Validator {
            node: node_key(index).id(),
            operator: format!("operator {index}"),
            region: format!("region {index}"),
            endorsement: fixture.nodes[usize::from(index)].endorsement,
        })
        .collect();
    validators.sort_by_key(|validator| validator.node);
    let accounts = [data_owner(), program_owner(), requester(), node_key(0), node_key(1), node_key(2), node_key(3)];
    let mut allocations: Vec<_> =
        accounts.iter().map(|key| Allocation { account: key.id(), amount: 100_000 }).collect();
    allocations.sort_by_key(|allocation| allocation.account);
    Genesis {
        version: 1,
        name: "vectors".into(),
        created_ms: fixture.time_ms,
        network_key: key,
        sharing: Blob(vec![]),
        validators,
        trust_anchors: TrustAnchors { hardware: vec![], simulated: vec![fixture.root.clone()] },
        appraisal: AppraisalPolicy {
            release_key: fixture.release_key.clone(),
            release_counter_min: 1,
            pcrs: vec![14],
            verdict_ms: 600_000,
            window_ms: WINDOW_MS,
            // Fewer than there are others: who is drawn depends on the seed.
            appraisers: 2,
            evidence_age_ms_max: 120_000,
        },
        custody: CustodyMode::Development,
        fees: FeeSchedule {
            transaction: 1,
            transaction_kib: 1,
            appraisal: 1,
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
            overhead_ms: 30_000,
        },
        allocations,
        top_up_max: 1_000,
    }
}

impl Story {
    /// A network of two blocks in which nothing has happened.
    pub(crate) fn begin(fixture: &Fixture) -> Self {
        let committee = Committee::deal(7);
        let genesis = genesis(fixture, committee.key());
        let network = genesis.network_id();
        let mut story = Self {
            chain: committee.chain(network),
            rules: Genesis {
                limits: NetworkLimits { program_bytes: u64::MAX, ..genesis.limits.clone() },
                ..genesis.clone()
            },
            genesis,
            network,
            committee,
            state: MemoryState::default(),
            time_ms: fixture.time_ms,
            blocks: vec![],
            steps: vec![],
            task: TaskId([0; 32]),
            evidence: vec![],
            event_log: fixture.event_log.to_bytes(),
            nodes: fixture.nodes.iter().map(|node| (node.endorsement, node.attestation_key.clone())).collect(),
        };
        story.block(vec![]);
        story.block(vec![]);
        story
    }

    /// The whole story: a task on one dataset that ends with `outcome`.
    pub(crate) fn ending(outcome: Outcome) -> Self {
        Self::with(5_000, OUTPUT_BYTES_MAX, outcome)
    }

    /// The same with a program of `bytes` bytes of ciphertext.
    pub(crate) fn of_program(bytes: u64, outcome: Outcome) -> Self {
        Self::with(bytes, OUTPUT_BYTES_MAX, outcome)
    }

    /// The same, on a program and data of which so much may leave.
    pub(crate) fn letting_out(output_bytes_max: u64, outcome: Outcome) -> Self {
        Self::with(5_000, output_bytes_max, outcome)
    }

    fn with(program_bytes: u64, output_bytes_max: u64, outcome: Outcome) -> Self {
        let fixture = Fixture::load();
        let mut story = Self::begin(fixture);
        story.attest(fixture);
        let (program, data) = (ObjectKind::Program, ObjectKind::Data);
        let program = story.publish(&program_owner(), program, "program", program_bytes, output_bytes_max);
        let data = story.publish(&data_owner(), data, "data", 5_000, output_bytes_max);
        story.submit(program, data);
        story.block(vec![]);
        story.block(vec![]);
        let executor = story.open().assigned.expect("drawn").executor;
        let index = (0..4).find(|index| node_key(*index).id() == executor).expect("one of four");
        story.evidence = fixture.nodes[usize::from(index)].evidence.0.clone();
        story.complete(outcome);
        // Others go on; proofs are made at a later head than the settlement's.
        story.block(vec![]);
        story
    }

    /// A task that succeeds. Made once: it takes a tenth of a second.
    pub(crate) fn success() -> Self {
        static SUCCESS: LazyLock<Story> =
            LazyLock::new(|| Story::ending(Outcome::Done(Box::new(result(Digest::of(b"plaintext root"), 1)))));
        SUCCESS.clone()
    }

    fn block(&mut self, transactions: Vec<Vec<u8>>) {
        let height = self.chain.height() + 1;
        self.time_ms += 1_000;
        let seed = (height > 1).then(|| self.chain.seed(height - 1));
        let input = BlockInput { height, time_ms: self.time_ms, seed, transactions: &transactions };
        let executed = execute(&self.rules, &self.network, &input, &self.state, Mode::Verify).unwrap();
        self.steps.push((self.state.clone(), transactions));
        self.state.apply(&executed);
        let facts = executed.records.iter().map(|bytes| Record::from_bytes(bytes, Record::BYTES_MAX).unwrap().fact);
        let facts: Vec<_> = facts.collect();
        self.chain.block(self.time_ms, facts.clone());
        self.blocks.push((self.time_ms, facts));
    }

    fn transaction(&self, sender: &Key, action: Action) -> Vec<u8> {
        let account: AccountState = self.get(&key::account(&sender.id())).unwrap_or_default();
        sender.sign(&self.network, Transaction { account: sender.id(), nonce: account.nonce, action }).to_bytes()
    }

    fn get<T: Canonical>(&self, key: &ledger::Key) -> Option<T> {
        self.state.read(key).flatten().map(|bytes| T::from_bytes(&bytes, usize::MAX).unwrap())
    }

    pub(crate) fn open(&self) -> OpenTask {
        match self.get(&key::task(&self.task)) {
            Some(TaskState::Open(open)) => *open,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn window(&self) -> u64 {
        self.time_ms / WINDOW_MS
    }

    pub(crate) fn block_ref(&self) -> BlockRef {
        self.chain.network().check_head(&self.chain.head()).unwrap().block_ref()
    }

    pub(crate) fn registration(&self, index: u8) -> Registration {
        let (endorsement, attestation_key) = self.nodes[usize::from(index)].clone();
        Registration {
            node: node_key(index).id(),
            sealing_key: sealing_key(index),
            operator: format!("operator {index}"),
            region: format!("region {index}"),
            endorsement,
            attestation_key,
        }
    }

    fn attest(&mut self, fixture: &Fixture) {
        let windows: Windows = self.get(&key::windows()).unwrap();
        let window = windows.current;
        let transactions = (0..4u8).map(|index| {
            let registration = self.registration(index);
            let evidence = ContentId::of_dag_cbor(&fixture.nodes[usize::from(index)].evidence.0);
            let votes =
                ledger::appraisers(&self.genesis, &window.seed, &registration.node).into_iter().map(|appraiser| {
                    let vote = AppraisalVote {
                        subject: registration.node,
                        registration: registration.digest(),
                        evidence,
                        window: window.number,
                        result: AttestationResult { simulated: true, self_measured: true, release_counter: 1 },
                        appraiser,
                    };
                    key_of(&appraiser).sign(&self.network, vote)
                });
            let votes = votes.collect();
            self.transaction(&node_key(index), Action::Attest(Box::new(Attestation { registration, votes })))
        });
        let transactions = transactions.collect();
        self.block(transactions);
    }

    fn acks(&self, content: ContentId, bytes: u64, not: &AccountId) -> Vec<Signed<StorageAck>> {
        let until_ms = self.time_ms + self.genesis.limits.storage_ms;
        let nodes = (0..4).map(node_key).filter(|node| node.id() != *not).take(2);
        nodes.map(|node| node.sign(&self.network, StorageAck { content, bytes, until_ms, node: node.id() })).collect()
    }

    fn publish(&mut self, owner: &Key, kind: ObjectKind, name: &str, bytes: u64, output_bytes_max: u64) -> ObjectId {
        let manifest = Manifest {
            kind,
            owner: owner.id(),
            ciphertext: ContentId::of_raw(format!("{name} ciphertext").as_bytes()),
            ciphertext_bytes: bytes,
            leaves: ContentId::of_raw(format!("{name} leaves").as_bytes()),
            seal: seal(Digest::of(name.as_bytes()), 1),
            description: None,
            sample: None,
        };
        let mut storage = self.acks(manifest.ciphertext, manifest.ciphertext_bytes, &owner.id());
        storage.extend(self.acks(manifest.leaves, 48, &owner.id()));
        storage.sort_by_key(|ack| (ack.unverified().content, ack.unverified().node));
        let manifest = owner.sign(&self.network, manifest);
        let object = manifest.object_id();
        let custodians = (0..3u8).map(|index| Custodian {
            node: node_key(index).id(),
            sealing_key: Digest::of(&sealing_key(index).0),
            commitment: Digest::of(&[index]),
        });
        let custodians = custodians.collect();
        let deposit = Deposit { object, owner: owner.id(), epoch: 1, threshold: 2, custodians };
        let digest = deposit.digest();
        let deposit = owner.sign(&self.network, deposit);
        let deposit_acks = (0..3u8).map(|at| {
            let ack = DepositAck { deposit: digest, index: at + 1, custodian: node_key(at).id() };
            node_key(at).sign(&self.network, ack)
        });
        let published = PublishedObject { manifest, deposit, deposit_acks: deposit_acks.collect(), storage };
        let terms = Terms {
            object,
            owner: owner.id(),
            serial: 1,
            price: 5,
            requesters: Allow::Only(vec![requester().id()]),
            counterparts: Allow::Any,
            uses_max: Some(10),
            expires_ms: None,
            output_bytes_max: Some(output_bytes_max),
            revoked: false,
        };
        let terms = Box::new(owner.sign(&self.network, terms));
        let publish = self.transaction(owner, Action::Publish { object: Box::new(published), terms });
        self.block(vec![publish]);
        object
    }

    fn submit(&mut self, program: ObjectId, data: ObjectId) {
        let account: AccountState = self.get(&key::account(&requester().id())).unwrap();
        let task = Task {
            requester: requester().id(),
            nonce: account.nonce,
            program,
            inputs: vec![Input { name: "records.csv".into(), object: data }],
            args: vec!["--ridge".into(), "0.1".into()],
            limits: Limits { run_ms: 10_000, memory_bytes: 256 << 20, output_bytes: 1 << 20 },
            metering: Metering::None,
            seed: Bytes32([5; 32]),
            result_key: Blob(vec![9; 1216]),
            price_max: 200,
        };
        self.task = task.id();
        let submit = self.transaction(&requester(), Action::Submit { task: Box::new(task) });
        self.block(vec![submit]);
    }

    fn complete(&mut self, outcome: Outcome) {
        let open = self.open();
        let assigned = open.assigned.clone().expect("drawn");
        let mut releases = vec![];
        for (object, terms) in open.task.objects().zip(&assigned.terms) {
            let state: ObjectState = self.get(&key::object(&object)).unwrap();
            for index in [1u8, 3] {
                let custodian = state.custodians[usize::from(index) - 1];
                let release = Release {
                    task: self.task,
                    attempt: 1,
                    object,
                    epoch: 1,
                    index,
                    custodian,
                    executor: assigned.executor,
                    ephemeral_key: Digest::of(b"ephemeral"),
                    terms: *terms,
                };
                releases.push(key_of(&custodian).sign(&self.network, release));
            }
        }
        let storage = match &outcome {
            Outcome::Done(result) => {
                let mut storage = self.acks(result.ciphertext, result.ciphertext_bytes, &assigned.executor);
                storage.extend(self.acks(result.leaves, 48, &assigned.executor));
                storage.sort_by_key(|ack| (ack.unverified().content, ack.unverified().node));
                storage
            }
            Outcome::Failed(_) => vec![],
        };
        let receipt =
            Receipt { task: self.task, attempt: 1, executor: assigned.executor, assignment: assigned.record, outcome };
        let executor = key_of(&assigned.executor);
        let completion = Completion { receipt: executor.sign(&self.network, receipt), releases, storage };
        let complete = self.transaction(&executor, Action::Complete(Box::new(completion)));
        self.block(vec![complete]);
        assert!(self.get::<NodeState>(&key::node(&assigned.executor)).is_some());
    }

    /// What a verifier's network file says.
    pub(crate) fn file(&self) -> Network {
        Network { id: self.network, key: self.committee.key(), simulated: true, checkpoint: None }
    }

    /// Certifies the facts as they are now, and proves those that the task's proof needs.
    pub(crate) fn proof(&self) -> Proof {
        self.proof_of(&self.certified())
    }

    pub(crate) fn certified(&self) -> Chain {
        let mut chain = self.committee.chain(self.network);
        for (time_ms, facts) in &self.blocks {
            chain.block(*time_ms, facts.clone());
        }
        chain
    }

    pub(crate) fn proof_of(&self, chain: &Chain) -> Proof {
        let indices = self.indices();
        let event_log = Some(self.event_log.clone());
        Proof::assemble(self.genesis.to_bytes(), chain.prove(&indices), self.evidence.clone(), event_log)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.proof().to_bytes()
    }

    /// Where the needed records stand: what `Proof::select` finds in the honest story.
    fn indices(&self) -> Vec<u64> {
        let executor = self.facts().find_map(|fact| match fact {
            Fact::Assignment(assignment) => Some(assignment.executor),
            _ => None,
        });
        let needed = |fact: &Fact| match fact {
            Fact::Verdict(verdict) => Some(verdict.node) == executor,
            Fact::Registration(registration) => Some(registration.node) == executor,
            _ => true,
        };
        (0..).zip(self.facts()).filter(|(_, fact)| needed(fact)).map(|(index, _)| index).collect()
    }

    pub(crate) fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.blocks.iter().flat_map(|(_, facts)| facts)
    }

    /// All records with their indices, as a node keeps them.
    pub(crate) fn records(&self) -> Vec<(u64, Record)> {
        let of_block = self.blocks.iter().zip(1..).flat_map(|((time_ms, facts), height)| {
            let record =
                move |fact: &Fact| Record { network: self.network, height, time_ms: *time_ms, fact: fact.clone() };
            facts.iter().map(record)
        });
        (0..).zip(of_block).collect()
    }

    /// The digest of the first record that `wanted` picks.
    fn digest_of(&self, wanted: impl Fn(&Fact) -> bool) -> Digest {
        self.records().iter().find(|(_, record)| wanted(&record.fact)).expect("there").1.digest()
    }

    /// Changes every fact that `change` wants to change.
    pub(crate) fn change(&mut self, mut change: impl FnMut(&mut Fact)) {
        self.blocks.iter_mut().flat_map(|(_, facts)| facts).for_each(&mut change);
    }

    pub(crate) fn change_assignment(&mut self, change: impl FnOnce(&mut Assignment)) {
        let mut change = Some(change);
        self.change(|fact| {
            if let (Fact::Assignment(assignment), Some(_)) = (&mut *fact, &change) {
                change.take().expect("looked at just now")(assignment);
            }
        });
        self.link();
    }

    pub(crate) fn change_settlement(&mut self, change: impl FnOnce(&mut Settlement)) {
        let mut change = Some(change);
        self.change(|fact| {
            if let (Fact::Settlement(settlement), Some(_)) = (&mut *fact, &change) {
                change.take().expect("looked at just now")(settlement);
            }
        });
    }

    /// Changes the executor's verdict, and lets the assignment name the changed one.
    /// The executor claims, and others store, a sealed result of so many bytes.
    pub(crate) fn resize_result(&mut self, bytes: u64) {
        let (network, executor) = (self.network, self.executor());
        self.change_settlement(|settlement| {
            let mut receipt = settlement.receipt.as_ref().expect("a receipt").unverified().clone();
            let Outcome::Done(result) = &mut receipt.outcome else { panic!("a failure has no result") };
            result.ciphertext_bytes = bytes;
            for ack in &mut settlement.storage {
                let body = ack.unverified().clone();
                if body.content == result.ciphertext {
                    *ack = key_of(&body.node).sign(&network, StorageAck { bytes, ..body });
                }
            }
            settlement.receipt = Some(key_of(&executor).sign(&network, receipt));
        });
    }

    pub(crate) fn change_verdict(&mut self, change: impl Fn(&mut Verdict)) {
        let executor = self.executor();
        self.change(|fact| {
            if let Fact::Verdict(verdict) = fact
                && verdict.node == executor
            {
                change(verdict);
            }
        });
        self.link();
    }

    /// Puts another signature under the data's deposit than its owner's.
    pub(crate) fn forge_deposit(&mut self) {
        let network = self.network;
        self.change(|fact| {
            if let Fact::Object(object) = fact
                && object.manifest.unverified().kind == ObjectKind::Data
            {
                let deposit = object.deposit.unverified().clone();
                let signature = *requester().sign(&network, deposit.clone()).signature();
                object.deposit = Signed::assemble(deposit, signature);
            }
        });
    }

    /// Lets the executor be appraised by somebody whom the window's seed did not draw, and says that they were drawn.
    pub(crate) fn appraise_by_others(&mut self) {
        let (network, executor) = (self.network, self.executor());
        let all: Vec<NodeId> = self.genesis.validators.iter().map(|validator| validator.node).collect();
        self.change_verdict(|verdict| {
            let other = all.iter().find(|node| **node != executor && !verdict.drawn.contains(node));
            verdict.drawn[0] = *other.expect("two of three were drawn");
            verdict.drawn.sort_unstable();
            let body = verdict.votes[0].unverified().clone();
            let vote = |appraiser: &NodeId| {
                key_of(appraiser).sign(&network, AppraisalVote { appraiser: *appraiser, ..body.clone() })
            };
            verdict.votes = verdict.drawn.iter().map(vote).collect();
        });
    }

    pub(crate) fn executor(&self) -> NodeId {
        let executor = self.facts().find_map(|fact| match fact {
            Fact::Assignment(assignment) => Some(assignment.executor),
            _ => None,
        });
        executor.expect("assigned")
    }

    /// Makes later facts name the earlier ones as they are now, signed again: only the intended change is left.
    pub(crate) fn link(&mut self) {
        let (executor, network) = (self.executor(), self.network);
        let verdict = self.digest_of(|fact| matches!(fact, Fact::Verdict(verdict) if verdict.node == executor));
        self.change(|fact| {
            if let Fact::Assignment(assignment) = fact {
                assignment.verdict = verdict;
            }
        });
        let assignment = self.digest_of(|fact| matches!(fact, Fact::Assignment(_)));
        self.change(|fact| {
            if let Fact::Settlement(settlement) = fact
                && let Some(receipt) = &settlement.receipt
            {
                let body = Receipt { assignment, ..receipt.unverified().clone() };
                settlement.receipt = Some(key_of(&body.executor).sign(&network, body));
            }
        });
    }
}

pub(crate) fn seal(plaintext_root: Digest, chunks: u64) -> Seal {
    Seal {
        suite: Suite::Aes256GcmXWing,
        salt: Bytes32([1; 32]),
        key_commitment: Bytes32([2; 32]),
        chunk_bytes: 1 << 20,
        chunks,
        plaintext_root,
        sealed_meta: Blob(vec![3; 56]),
    }
}

pub(crate) fn result(plaintext_root: Digest, chunks: u64) -> ResultSeal {
    ResultSeal {
        ciphertext: ContentId::of_raw(b"result"),
        ciphertext_bytes: 4_112 + (chunks - 1) * (1 << 20),
        leaves: ContentId::of_raw(b"result leaves"),
        seal: seal(plaintext_root, chunks),
        wrapped_key: Blob(vec![4; 1168]),
    }
}

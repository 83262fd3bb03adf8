//! The story, step by step. Each step uses what a user would use; nothing is shown that did not happen.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use client::{
    Client, ClientError, Finished, Publication, Published, Request, TermsDraft, Trust, describe_terms, read_description,
};
use custody::AccountKey;
use model::{AccountId, Allow, Input, Limits, Metering, ObjectId, ObjectKind, Payment, TaskId};
use node::network::{CreateOptions, Created};
use serde_json::{Value, json};

use super::{Nodes, say};
use crate::{
    cli::Demo,
    commands::{connect_to, listings::payment_lines, offline},
    failure::{Failure, OWN_FAULT},
    ui::{Phases, Show},
};

/// Real medical records, and what their owner tells about them (examples/breast-cancer says where they come from).
const RECORDS: &[u8] = include_bytes!("../../../../../examples/breast-cancer/breast-cancer.csv");
const SAMPLE: &[u8] = include_bytes!("../../../../../examples/breast-cancer/sample.csv");
const DESCRIPTION: &[u8] = include_bytes!("../../../../../examples/breast-cancer/describe.toml");
/// A research program, compiled (examples/logistic-regression has the source).
const PROGRAM: &[u8] = include_bytes!("../../../../../examples/logistic-regression/logistic-regression.wasm");

/// Credits each of the three begins with.
const CREDITS: u64 = 100_000;
/// What the owners ask for one use.
const DATA_PRICE: u64 = 50;
const PROGRAM_PRICE: u64 = 20;
/// What the requester is ready to pay.
const PRICE_MAX: u64 = 10_000;

/// How long the network may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(super) struct Story {
    silent: bool,
    nodes_wanted: usize,
    dir: PathBuf,
    started: Instant,
    nodes: Option<Nodes>,
}

/// What came of it.
pub(super) struct Told {
    pub(super) program: ObjectId,
    pub(super) data: ObjectId,
    pub(super) task: TaskId,
    pub(super) proof: PathBuf,
    pub(super) result: PathBuf,
    pub(super) network: PathBuf,
    pub(super) phases_ms: Value,
    pub(super) payments: Vec<Payment>,
    pub(super) trust: Trust,
    pub(super) refused: Value,
    pub(super) total_ms: u64,
}

/// The three of the story.
struct People {
    hospital: AccountKey,
    institute: AccountKey,
    requester: AccountKey,
}

impl Story {
    pub(super) fn new(args: &Demo, dir: PathBuf) -> Self {
        Self { silent: args.output.json, nodes_wanted: args.nodes as usize, dir, started: Instant::now(), nodes: None }
    }

    /// The nodes, if they were started.
    pub(super) fn take_nodes(&mut self) -> Option<Nodes> {
        self.nodes.take()
    }

    pub(super) async fn tell(&mut self) -> Result<Told, Failure> {
        let created = self.network().await?;
        let people = self.people()?;
        let client = connect_to(&created.file, None)?;
        self.fund(&client, &people).await?;
        self.until_attested(&client).await?;
        let (program, other, data) = self.publish(&client, &people).await?;
        let (finished, phases) = self.run(&client, &people.requester, program.object, data.object).await?;
        self.proof(&created.file, &finished)?;
        self.payments(&finished, &people);
        let refused =
            self.refusals(&client, &people.requester, other.object, data.object, &finished, &created.file).await?;
        Ok(Told {
            program: program.object,
            data: data.object,
            task: finished.task,
            proof: finished.proof,
            result: finished.result,
            network: created.file,
            phases_ms: phases.to_json(),
            payments: finished.payments,
            trust: finished.trust,
            refused,
            total_ms: self.started.elapsed().as_millis() as u64,
        })
    }

    fn say(&self, line: impl AsRef<str>) {
        say(self.silent, line);
    }

    fn chapter(&self, title: &str) {
        self.say(format!("\n[{:>4.1} s] {title}", self.started.elapsed().as_secs_f64()));
    }

    /// Makes a network and starts its nodes.
    async fn network(&mut self) -> Result<Created, Failure> {
        self.say(format!(
            "Samovar: a sealed vessel that serves many cups and is never opened.\n{}",
            self.dir.display()
        ));
        self.chapter(&format!(
            "A network of {} nodes on this machine, each with its own TPM and its own disk",
            self.nodes_wanted
        ));
        let dir = self.dir.join("network");
        let options = CreateOptions { nodes: self.nodes_wanted, name: "demo".to_owned(), ..CreateOptions::default() };
        let created = tokio::task::spawn_blocking(move || node::network::create(&dir, &options))
            .await
            .map_err(|cause| Failure::of(&cause, OWN_FAULT))?
            .map_err(|cause| Failure::of(&cause, cause.hint()))?;
        self.nodes = Some(Nodes::start(&self.dir, &created.nodes)?);
        self.say(format!("  network {}", created.network));
        self.say("  simulated: its TPMs are software (swtpm); custody: development");
        Ok(created)
    }

    fn people(&self) -> Result<People, Failure> {
        let make = |name: &str| {
            let key = AccountKey::generate().map_err(|cause| Failure::of(&cause, OWN_FAULT))?;
            key.save(&self.dir.join(format!("{name}.key"))).map_err(|cause| Failure::of(&cause, OWN_FAULT))?;
            Ok::<_, Failure>(key)
        };
        Ok(People { hospital: make("hospital")?, institute: make("institute")?, requester: make("requester")? })
    }

    /// Free credits for the three, as soon as the network finalizes anything.
    async fn fund(&mut self, client: &Client, people: &People) -> Result<(), Failure> {
        loop {
            match client.account(&people.hospital.account()).await {
                Ok(_) => break,
                // The nodes are still starting.
                Err(error) if is_starting(&error) => self.look_again("its ledger").await?,
                Err(error) => return Err(error.into()),
            }
        }
        tokio::try_join!(
            client.top_up(&people.hospital, CREDITS),
            client.top_up(&people.institute, CREDITS),
            client.top_up(&people.requester, CREDITS),
        )?;
        Ok(())
    }

    /// Waits until every node was appraised by others.
    async fn until_attested(&mut self, client: &Client) -> Result<(), Failure> {
        loop {
            let fresh = match client.nodes().await {
                Ok((_, nodes)) => nodes.into_iter().filter(|node| node.is_fresh(10_000)).collect(),
                Err(error) if is_starting(&error) => Vec::new(),
                Err(error) => return Err(error.into()),
            };
            if fresh.len() == self.nodes_wanted {
                self.chapter("Every node was appraised by nodes drawn at random, on a ledger that all of them keep");
                for node in fresh {
                    let verdict = &node.verdict;
                    self.say(format!(
                        "  {}  {} of {} appraisers agree",
                        node.id(),
                        verdict.votes.len(),
                        verdict.drawn.len()
                    ));
                }
                return Ok(());
            }
            self.look_again("verdicts about its nodes").await?;
        }
    }

    async fn look_again(&mut self, what: &str) -> Result<(), Failure> {
        if let Some(nodes) = &mut self.nodes {
            nodes.check()?;
        }
        if self.started.elapsed() > START {
            let logs = self.dir.join("node-0.log");
            return Err(Failure::new(
                format!("the network has been waiting for {what} for too long"),
                format!("the nodes' logs say why: {}", logs.display()),
            ));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        Ok(())
    }

    /// The institute's program, a program nobody approved, and the hospital's records.
    async fn publish(&self, client: &Client, people: &People) -> Result<(Published, Published, Published), Failure> {
        let program_file = self.write("logistic-regression.wasm", PROGRAM)?;
        let program = Publication {
            kind: ObjectKind::Program,
            file: program_file.clone(),
            terms: TermsDraft { price: PROGRAM_PRICE, ..TermsDraft::default() },
            description: None,
            sample: None,
        };
        let other = Publication { terms: TermsDraft::default(), ..program.clone() };
        self.chapter("An institute seals its program on its own machine and publishes it; nobody else ever sees it");
        let (program, other) = tokio::join!(
            client.publish(&people.institute, &program, &()),
            client.publish(&people.requester, &other, &()),
        );
        let (program, other) = (program?, other?);
        self.describe("program", &people.institute, &program, ObjectKind::Program);

        self.chapter("A hospital seals the records of 569 patients and publishes them, for that one program only");
        let description = self.write("describe.toml", DESCRIPTION)?;
        let data = Publication {
            kind: ObjectKind::Data,
            file: self.write("breast-cancer.csv", RECORDS)?,
            terms: TermsDraft {
                price: DATA_PRICE,
                requesters: Allow::Any,
                counterparts: Allow::Only(vec![program.object]),
                uses_max: Some(100),
                expires_ms: Some(1_893_456_000_000),
                output_bytes_max: Some(65_536),
            },
            description: Some(read_description(&description)?),
            sample: Some(self.write("sample.csv", SAMPLE)?),
        };
        let data = client.publish(&people.hospital, &data, &()).await?;
        self.describe("data", &people.hospital, &data, ObjectKind::Data);
        Ok((program, other, data))
    }

    fn describe(&self, what: &str, owner: &AccountKey, published: &Published, kind: ObjectKind) {
        self.say(format!("  {what} {}\n  owner {}", published.object, owner.account()));
        for line in describe_terms(&published.terms, kind) {
            self.say(format!("  {line}"));
        }
        let holders = published.custodians.len();
        self.say(format!(
            "  key: any {} of {holders} custodians together; copies: {}",
            published.threshold, published.copies
        ));
    }

    /// Somebody else asks for that program on that data.
    async fn run(
        &self,
        client: &Client,
        key: &AccountKey,
        program: ObjectId,
        data: ObjectId,
    ) -> Result<(Finished, Phases), Failure> {
        self.chapter("A requester asks for that program on that data");
        let phases = Phases::new(if self.silent { Show::Silent } else { Show::Story });
        let finished = client.run(key, &request(program, data), &self.dir.join("run"), &phases).await?;
        self.chapter("The result, opened with the requester's key on this machine");
        let stdout = self.read(&finished.result.join("stdout"))?;
        for line in String::from_utf8_lossy(&stdout).lines() {
            self.say(format!("  | {line}"));
        }
        if finished.exit_code != 0 {
            return Err(Failure::new(
                format!("the program ended with exit code {}", finished.exit_code),
                format!("{} says why", finished.result.join("stderr").display()),
            ));
        }
        Ok((finished, phases))
    }

    /// Checks the proof as a stranger would: from the file and the network file alone.
    fn proof(&self, network: &Path, finished: &Finished) -> Result<(), Failure> {
        let bytes = self.read(&finished.proof)?;
        self.chapter(&format!("The proof, {} bytes, checked offline with the network file alone", bytes.len()));
        let network = client::NetworkFile::read(network)?.proof_network();
        let verified = proof::verify(&bytes, &network).map_err(|cause| offline::refused(&cause))?;
        client::check_result(&finished.result, &verified)
            .map_err(|cause| Failure::of(&cause, "do not rely on this result"))?;
        let checklist = verified.checklist().to_string();
        for line in checklist.lines() {
            self.say(format!("  {line}"));
        }
        Ok(())
    }

    fn payments(&self, finished: &Finished, people: &People) {
        self.chapter("What was paid, in the block that settled the task");
        let mut lines = payment_lines(&finished.payments);
        let names: [(&AccountKey, &str); 3] = [
            (&people.hospital, "the hospital"),
            (&people.institute, "the institute"),
            (&people.requester, "the requester"),
        ];
        for (key, name) in names {
            let account: AccountId = key.account();
            lines = lines.replace(&account.to_string(), name);
        }
        self.say(lines.trim_end());
    }

    /// What must not work, and does not.
    async fn refusals(
        &self,
        client: &Client,
        key: &AccountKey,
        other: ObjectId,
        data: ObjectId,
        finished: &Finished,
        network: &Path,
    ) -> Result<Value, Failure> {
        self.chapter("Refused: the same request with a program that is not on the hospital's list");
        let program = match client.run(key, &request(other, data), &self.dir.join("refused"), &()).await {
            // Any other refusal would show something else.
            Err(ClientError::Refused { error, .. }) if error.starts_with(&format!("{other} is not on the list")) => {
                error
            }
            Err(error) => return Err(error.into()),
            Ok(_) => {
                return Err(Failure::new(
                    "a program that the owner does not allow was run",
                    "this is a bug; do not use this build",
                ));
            }
        };
        self.say(format!("  {program}"));

        self.chapter("Refused: the proof with one byte changed");
        let mut bytes = self.read(&finished.proof)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let network = client::NetworkFile::read(network)?.proof_network();
        let Err(proof) = proof::verify(&bytes, &network) else {
            return Err(Failure::new("a changed proof was verified", "this is a bug; do not use this build"));
        };
        self.say(format!("  {}", client::chain(&proof)));
        Ok(json!({ "program": program, "proof": client::chain(&proof) }))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.dir.join(name);
        std::fs::write(&path, bytes).map_err(|cause| Failure::disk(&path, &cause))?;
        Ok(path)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, Failure> {
        std::fs::read(path).map_err(|cause| Failure::disk(path, &cause))
    }
}

/// What nodes answer, or do not, until they have a ledger.
fn is_starting(error: &ClientError) -> bool {
    use ClientError::{NoAnswer, Nobody, StandsStill, Unknown};
    matches!(error, Nobody { .. } | NoAnswer { .. } | StandsStill { .. } | Unknown { .. })
}

fn request(program: ObjectId, data: ObjectId) -> Request {
    Request {
        program,
        inputs: vec![Input { name: "records.csv".to_owned(), object: data }],
        args: Vec::new(),
        limits: Limits { run_ms: 30_000, memory_bytes: 256 << 20, output_bytes: 65_536 },
        metering: Metering::None,
        price_max: PRICE_MAX,
    }
}

//! What can be typed. No I/O here; `commands` does the work.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand, ValueEnum};
use model::{Metering, ObjectId, ObjectKind, TaskId};

/// Runs sealed programs on sealed data, on machines that neither owner owns, with a proof for strangers.
#[derive(Debug, Parser)]
#[command(
    name = "samovar",
    version,
    propagate_version = false,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "\
Start here:
  samovar demo                            the whole story on a fresh local network
  samovar demo --keep                     the same, and leave the network running to play with

By hand:
  samovar network create net --nodes 4    then: samovar node --config net/node-0/node.toml   (and 1, 2, 3)
  export SAMOVAR_NETWORK=net/network.toml SAMOVAR_KEY=alice.key
  samovar keygen alice.key
  samovar account top-up 10000
  samovar publish data records.csv --terms terms.toml          prints the id of the data
  samovar publish program analysis.wasm --terms program.toml   prints the id of the program
  samovar run PROGRAM --data records.csv=OBJECT --max-price 1000 --out run-1
  samovar verify run-1/proof --result run-1/result

Exit codes: 0 done, 1 refused or failed (stderr says `error:` and `hint:`), 2 wrong usage."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Demo(Demo),
    #[command(subcommand)]
    Network(Network),
    Node(Node),
    Keygen(Keygen),
    Account(Account),
    Publish(Publish),
    Run(Box<Run>),
    Fetch(Fetch),
    Verify(Verify),
    Try(Try),
    Quote(Quote),
    #[command(subcommand)]
    Objects(Objects),
    #[command(subcommand)]
    Tasks(Tasks),
    #[command(subcommand)]
    Nodes(Nodes),
}

/// Shows the whole story on a fresh local network of real nodes
///
/// Starts the nodes, publishes real medical records and a sealed program under different keys, runs one on the
/// other for a third key, verifies the proof, and shows two refusals. Exit code 0 only if all of that held.
/// TPMs are simulated by swtpm, which must be installed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  samovar demo
  samovar demo --keep --dir /tmp/tea      leave the network running; prints the commands to use it by hand
  samovar demo --json                     one object on stdout, for scripts")]
pub(crate) struct Demo {
    /// How many nodes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(4..=16))]
    pub(crate) nodes: u32,
    /// Leave the network running and print the commands to use it by hand
    #[arg(long)]
    pub(crate) keep: bool,
    /// Where everything goes; must be empty or new [default: a fresh temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Makes networks
#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    Create(NetworkCreate),
    Approve(NetworkApprove),
}

/// Makes a development network of N nodes on this machine
///
/// Writes DIR/network.toml (for clients), DIR/genesis.cbor, and DIR/node-0/node.toml and so on. All keys are dealt
/// by this command (a trusted dealer) and TPMs are simulated: for development only.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  samovar network create net --nodes 4
  samovar node --config net/node-0/node.toml        and 1, 2, 3, each in a terminal of its own")]
pub(crate) struct NetworkCreate {
    /// Folder to make; must be empty or new
    pub(crate) dir: PathBuf,
    /// How many nodes; all validate
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(4..=16))]
    pub(crate) nodes: u32,
    /// A name for people
    #[arg(long, default_value = "development")]
    pub(crate) name: String,
    /// How long a verdict about a node holds, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(4..))]
    pub(crate) verdict_seconds: u64,
    /// What a task may take beside its run time, seconds: keys, content, publishing
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) overhead_seconds: u64,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Signs this build (or another) with the network's development release key, so that its nodes may run it
///
/// A node refuses to start with a binary that nobody has approved. After a rebuild, approve the new binary and start
/// the nodes again; nothing that they had sealed is lost.
#[derive(Debug, Args)]
#[command(
    visible_alias = "sign",
    after_help = "\
Example:
  samovar network approve net                       approves the samovar that runs this command"
)]
pub(crate) struct NetworkApprove {
    /// Folder made by `samovar network create`
    pub(crate) dir: PathBuf,
    /// The binary to approve [default: this one]
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Runs a node until it is told to stop (Ctrl-C or SIGTERM)
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  samovar node --config net/node-0/node.toml

The log goes to stderr; RUST_LOG sets how much, for example RUST_LOG=node=debug.")]
pub(crate) struct Node {
    /// Its configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Makes an account key and prints its did:key
///
/// The file is readable by you alone. Whoever has it owns what it published, its credits and its results; nobody can
/// replace it. An existing file is never overwritten.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  samovar keygen alice.key")]
pub(crate) struct Keygen {
    /// File to write
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Shows or fills an account
#[derive(Debug, Args)]
pub(crate) struct Account {
    #[command(subcommand)]
    pub(crate) verb: AccountVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountVerb {
    /// Shows your account's balance
    #[command(after_help = "\
Examples:
  samovar account show --key alice.key
  samovar account show --account did:key:z6Mk…      somebody else's")]
    Show {
        /// Another account than that of --key
        #[arg(long, value_name = "DID")]
        account: Option<model::AccountId>,
        /// Your account key, made by `samovar keygen`
        #[arg(long, value_name = "FILE", env = "SAMOVAR_KEY", hide_env_values = true)]
        key: Option<PathBuf>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Draws free credits, on development networks
    #[command(after_help = "\
Example:
  samovar account top-up 10000 --key alice.key")]
    TopUp {
        /// Credits; the fee of the transaction is taken out of them
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        amount: u64,
        #[command(flatten)]
        signing: Signing,
    },
}

/// Seals a file on this machine and publishes it; prints its object id
///
/// The plaintext never leaves this machine: nodes get ciphertext, and custodians that this command checked first get
/// one share of the key each. An interrupted publish costs nothing; run the same command again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  samovar publish data records.csv --terms terms.toml --describe describe.toml --sample dummy.csv
  samovar publish program model.wasm --terms terms.toml

terms.toml (every line may be left out; this command prints what then holds):
  price = 5                    # credits per use
  requesters = \"any\"           # or a list of did:key
  programs = \"any\"             # for data: or a list of program ids; for a program the line is  data = …
  uses_max = 100
  expires = 2030-01-01
  output_bytes_max = 65536     # for data: what may leave in one run

describe.toml:
  title = \"…\"                  # also: text, rows, licence
  [[columns]]                  # one for each column
  name = \"…\"                   # also: unit, about")]
pub(crate) struct Publish {
    /// What it is
    #[arg(value_enum)]
    pub(crate) kind: Kind,
    /// The file to seal
    pub(crate) file: PathBuf,
    /// Your conditions; an empty file lets anybody use it for nothing, for ever
    #[arg(long, value_name = "FILE")]
    pub(crate) terms: PathBuf,
    /// A public description
    #[arg(long, value_name = "FILE")]
    pub(crate) describe: Option<PathBuf>,
    /// A public dummy of the same shape, for those who write programs; published in clear
    #[arg(long, value_name = "FILE")]
    pub(crate) sample: Option<PathBuf>,
    /// Publish a program that the sandbox of this version does not compile
    #[arg(long)]
    pub(crate) untried: bool,
    #[command(flatten)]
    pub(crate) signing: Signing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A file that programs read
    Data,
    /// A WASI 0.1 module or a WASI 0.2 component
    Program,
}

impl From<Kind> for ObjectKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Data => Self::Data,
            Kind::Program => Self::Program,
        }
    }
}

/// Runs a published program on published data, and fetches and checks the result and its proof
///
/// Writes OUT/task before anything else, so that the same command continues after an interruption and never pays
/// twice; one command at a time works in OUT. Then OUT/result/stdout, OUT/result/stderr, OUT/result/exit-code,
/// OUT/result/out/… and OUT/proof, for your eyes only. What else lies there stays as it is.
/// Standard output and files are whole; of standard error there is the beginning for which they leave room within
/// --output-limit and what the owners of the data let out. Exit code 0 means that the guest ended by itself and the proof was verified; the guest's own exit code is in
/// OUT/result/exit-code.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  samovar run bafyPROGRAM --data records.csv=bafyDATA --max-price 1000 --out run-1
  samovar run bafyPROGRAM --data a=bafyA --data b=bafyB --arg --folds --arg 5 --max-price 1000 --out run-2

The guest reads its inputs at /data/NAME and writes files to /out. Arguments are public.")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) what: Combination,
    /// An argument of the program; may be repeated
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
    /// Most credits it may cost, transaction fees apart
    #[arg(long, value_name = "CREDITS")]
    pub(crate) max_price: u64,
    /// Where the result goes
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) signing: Signing,
}

/// Which program, on which data.
#[derive(Clone, Debug, Args)]
pub(crate) struct Combination {
    /// Object id of the program
    pub(crate) program: ObjectId,
    /// An input: the guest reads OBJECT at /data/NAME; may be repeated
    #[arg(long = "data", value_name = "NAME=OBJECT", required = true)]
    pub(crate) inputs: Vec<Named<ObjectId>>,
}

/// What a run may use. It is ended where it would use more.
#[derive(Clone, Debug, Args)]
pub(crate) struct LimitArgs {
    /// Wall time of the program, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) time_limit: u64,
    /// Memory of the program, MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub(crate) memory_limit: u64,
    /// Standard output and files together, bytes; owners of data may let out less [default: 1048576]
    #[arg(long, value_name = "BYTES")]
    pub(crate) output_limit: Option<u64>,
    /// What is counted while it runs: nothing, instructions, or instructions with the same bits on every machine
    #[arg(long, value_enum, default_value = "none")]
    pub(crate) metering: MeteringArg,
}

/// What a run may leave behind if nothing else is asked for.
const OUTPUT_BYTES: u64 = 1 << 20;

impl LimitArgs {
    pub(crate) fn limits(&self) -> model::Limits {
        model::Limits {
            run_ms: self.time_limit * 1_000,
            memory_bytes: self.memory_limit << 20,
            output_bytes: self.output_limit.unwrap_or(OUTPUT_BYTES),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MeteringArg {
    None,
    Fuel,
    FuelNan,
}

impl From<MeteringArg> for Metering {
    fn from(metering: MeteringArg) -> Self {
        match metering {
            MeteringArg::None => Self::None,
            MeteringArg::Fuel => Self::Fuel,
            MeteringArg::FuelNan => Self::FuelNan,
        }
    }
}

/// Fetches the result and the proof of one of your tasks again
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  samovar fetch 5f0c…e1 --out again

The key of a result derives from your account key, so nothing else is needed.")]
pub(crate) struct Fetch {
    /// Id of the task
    pub(crate) task: TaskId,
    /// Where the result goes
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) signing: Signing,
}

/// Checks a proof without asking anybody; works offline
///
/// Prints what was checked, line by line, and `verified` at the end; or which link is broken.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  samovar verify run-1/proof --network network.toml
  samovar verify run-1/proof --network network.toml --result run-1/result      the result is the proven one, too
  samovar verify run-1/proof --network network.toml --evidence log.car         with a log that is not in the proof:
                                                                               GET /ipfs/CID?format=car of any node

If the network file pins a checkpoint, the proof must be linked with it: `samovar run` and `samovar fetch` write the
file `extension` beside the proof for that.")]
pub(crate) struct Verify {
    /// The proof
    pub(crate) proof: PathBuf,
    /// The network file: the one thing that is believed
    #[arg(long, value_name = "FILE", env = "SAMOVAR_NETWORK", hide_env_values = true)]
    pub(crate) network: PathBuf,
    /// Also check that this folder holds the result that the proof is about
    #[arg(long, value_name = "DIR")]
    pub(crate) result: Option<PathBuf>,
    /// Blocks that are not in the proof, such as the event log behind the evidence
    #[arg(long, value_name = "FILE.car")]
    pub(crate) evidence: Option<PathBuf>,
    /// What links the proof with the checkpoint that the network file pins [default: `extension` beside the proof]
    #[arg(long, value_name = "FILE")]
    pub(crate) extension: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Runs a program here, in the sandbox that nodes use
///
/// The program's standard output and error are its own. Exit code: that of the program; 1 if it was ended.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  samovar try model.wasm --data records.csv=dummy.csv
  samovar try model.wasm --data records.csv=sample:bafyDATA --out out      the sample its owner published")]
pub(crate) struct Try {
    /// A WASI 0.1 module or a WASI 0.2 component
    pub(crate) file: PathBuf,
    /// An input: the guest reads it at /data/NAME; may be repeated
    #[arg(long = "data", value_name = "NAME=FILE|NAME=sample:OBJECT")]
    pub(crate) inputs: Vec<Named<TryInput>>,
    /// An argument of the program; may be repeated
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
    /// Where files that the guest wrote to /out go; must be empty or new
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// For samples: which network
    #[arg(long, value_name = "FILE", env = "SAMOVAR_NETWORK", hide_env_values = true)]
    pub(crate) network: Option<PathBuf>,
    /// For samples: ask this node first
    #[arg(long, value_name = "URL", value_parser = parse_api)]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TryInput {
    File(PathBuf),
    Sample(ObjectId),
}

impl FromStr for TryInput {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("sample:") {
            Some(object) => object.parse().map(Self::Sample).map_err(|error: model::IdError| error.to_string()),
            None if text.is_empty() => Err("a file is missing after '='".to_owned()),
            None => Ok(Self::File(text.into())),
        }
    }
}

/// Says whether a run would be allowed, by whose rule not, what it costs and its limits; free
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  samovar quote bafyPROGRAM --data records.csv=bafyDATA --key alice.key")]
pub(crate) struct Quote {
    #[command(flatten)]
    pub(crate) what: Combination,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) signing: Signing,
}

/// What is published, and under which terms
#[derive(Debug, Subcommand)]
pub(crate) enum Objects {
    /// Lists published objects
    List {
        /// Only data, or only programs
        #[arg(long, value_enum)]
        kind: Option<Kind>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Shows one object: its description, terms, custodians and copies
    Show {
        /// Object id
        object: ObjectId,
        #[command(flatten)]
        asking: Asking,
    },
    /// Replaces the terms of one of your objects
    Terms {
        /// Object id
        object: ObjectId,
        /// The new conditions
        #[arg(long, value_name = "FILE")]
        terms: PathBuf,
        #[command(flatten)]
        signing: Signing,
    },
    /// Withdraws one of your objects for ever: no new task may use it
    ///
    /// What was already released to a machine that runs a task is not called back.
    Revoke {
        /// Object id
        object: ObjectId,
        #[command(flatten)]
        signing: Signing,
    },
}

/// What was asked for, and how it ended
#[derive(Debug, Subcommand)]
pub(crate) enum Tasks {
    /// Lists tasks
    List {
        #[command(flatten)]
        asking: Asking,
    },
    /// Shows one task: who asked, what ran where, how it ended, who was paid
    Show {
        /// Task id
        task: TaskId,
        #[command(flatten)]
        asking: Asking,
    },
}

/// Who runs tasks and holds keys, and whether that was checked
#[derive(Debug, Subcommand)]
pub(crate) enum Nodes {
    /// Lists nodes and their verdicts
    List {
        #[command(flatten)]
        asking: Asking,
    },
    /// Shows one node
    Show {
        /// Its did:key
        #[arg(value_name = "NODE")]
        did: model::NodeId,
        #[command(flatten)]
        asking: Asking,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct NetworkArgs {
    /// The network file: id, key and nodes
    #[arg(long, value_name = "FILE", env = "SAMOVAR_NETWORK", hide_env_values = true)]
    pub(crate) network: PathBuf,
    /// Ask this node first; it is believed no more than the others
    #[arg(long, value_name = "URL", value_parser = parse_api)]
    pub(crate) node: Option<String>,
    /// How long to wait for nodes that do not answer yet
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) wait: u64,
}

/// What every verb takes that asks a network.
#[derive(Clone, Debug, Args)]
pub(crate) struct Asking {
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What every verb takes that signs for an account.
#[derive(Clone, Debug, Args)]
pub(crate) struct Signing {
    /// Your account key, made by `samovar keygen`
    #[arg(long, value_name = "FILE", env = "SAMOVAR_KEY", hide_env_values = true)]
    pub(crate) key: PathBuf,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

impl Signing {
    pub(crate) fn output(&self) -> Output {
        self.asking.output
    }
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// Print one JSON object on stdout and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// The base of a node's HTTP API.
fn parse_api(text: &str) -> Result<String, String> {
    client::check_api(text).map(|()| text.to_owned())
}

/// `NAME=SOMETHING`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named<T> {
    pub(crate) name: String,
    pub(crate) what: T,
}

impl<T: FromStr<Err: std::fmt::Display>> FromStr for Named<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, what) = text.split_once('=').ok_or("write NAME=…, NAME being what the guest sees under /data")?;
        client::check_input_name(name)?;
        let what = what.parse().map_err(|error: T::Err| error.to_string())?;
        Ok(Self { name: name.to_owned(), what })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn inputs_have_names() {
        let parse = |text: &str| text.parse::<Named<TryInput>>();
        assert_eq!(parse("a.csv=/tmp/b=c").unwrap().what, TryInput::File("/tmp/b=c".into()));
        for refused in ["a.csv", "=x", "a/b=x", ".a=x", "a=", "a=sample:zzz"] {
            assert!(parse(refused).is_err(), "{refused} was accepted");
        }
    }
}

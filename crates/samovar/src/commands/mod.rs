//! One file for each verb.

mod account;
mod demo;
mod listings;
mod network;
pub(crate) mod node;
mod offline;
mod publish;
mod run;
mod trying;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
    time::Duration,
};

use client::{Client, NetworkFile, Skipped, StateDir};
use custody::AccountKey;

use crate::{
    cli::{Account, AccountVerb, Asking, Named, Network, NetworkArgs, Nodes, Objects, Output, Signing, Tasks, Verb},
    failure::Failure,
    ui::{Answer, is_shown, print_failure, print_warning, tell},
};

/// Does what was asked for.
pub(crate) fn dispatch(verb: Verb) -> ExitCode {
    let output = output_of(&verb);
    let done = match verb {
        Verb::Node(args) => return node::launch(&args),
        Verb::Try(args) => return trying::run(&args),
        Verb::Keygen(args) => account::keygen(&args),
        Verb::Verify(args) => offline::verify(&args),
        Verb::Network(Network::Create(args)) => network::create(&args),
        Verb::Network(Network::Approve(args)) => network::approve(&args),
        Verb::Demo(args) => or_interrupted(demo::demo(&args), demo::INTERRUPTED),
        Verb::Account(Account { verb: AccountVerb::Show { account, key, asking } }) => {
            on_runtime(account::show(account, &asking, key.as_deref()))
        }
        Verb::Account(Account { verb: AccountVerb::TopUp { amount, signing } }) => {
            on_runtime(account::top_up(amount, &signing))
        }
        Verb::Publish(args) => on_runtime(publish::publish(&args)),
        Verb::Run(args) => on_runtime(run::run(&args)),
        Verb::Fetch(args) => on_runtime(run::fetch(&args)),
        Verb::Quote(args) => on_runtime(run::quote(&args)),
        Verb::Objects(verb) => on_runtime(listings::objects(verb)),
        Verb::Tasks(verb) => on_runtime(listings::tasks(verb)),
        Verb::Nodes(verb) => on_runtime(listings::nodes(verb)),
    };
    conclude(done, output)
}

/// Prints what came of a verb.
pub(crate) fn conclude(done: Result<Answer, Failure>, output: Output) -> ExitCode {
    match done {
        Ok(answer) => match answer.print(output) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                answer.tell();
                print_failure(&failure, false);
                ExitCode::FAILURE
            }
        },
        Err(failure) => {
            print_failure(&failure, output.json);
            ExitCode::FAILURE
        }
    }
}

/// Runs a verb that talks to a network. Ctrl-C ends it in order: what it keeps for later is kept, the rest is removed.
pub(crate) fn on_runtime<T>(verb: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    or_interrupted(verb, "run the same command again: it goes on where it was and pays once")
}

/// The same; `hint` says what to do after Ctrl-C.
fn or_interrupted<T>(verb: impl Future<Output = Result<T, Failure>>, hint: &str) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|cause| Failure::of(&cause, "close other programs and try again"))?;
    let done = runtime.block_on(async {
        tokio::select! {
            done = verb => done,
            _ = interrupted() => Err(Failure::new("interrupted", hint)),
        }
    });
    // A blocking read of a large file must not hold up the end.
    runtime.shutdown_background();
    done
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => std::future::pending().await,
    }
}

fn output_of(verb: &Verb) -> Output {
    match verb {
        Verb::Demo(args) => args.output,
        Verb::Network(Network::Create(args)) => args.output,
        Verb::Network(Network::Approve(args)) => args.output,
        Verb::Keygen(args) => args.output,
        Verb::Account(args) => match &args.verb {
            AccountVerb::Show { asking, .. } => asking.output,
            AccountVerb::TopUp { signing, .. } => signing.output(),
        },
        Verb::Publish(args) => args.signing.output(),
        Verb::Run(args) => args.signing.output(),
        Verb::Fetch(args) => args.signing.output(),
        Verb::Verify(args) => args.output,
        Verb::Try(args) => args.output,
        Verb::Quote(args) => args.signing.output(),
        Verb::Objects(Objects::List { asking, .. } | Objects::Show { asking, .. }) => asking.output,
        Verb::Objects(Objects::Terms { signing, .. } | Objects::Revoke { signing, .. }) => signing.output(),
        Verb::Tasks(Tasks::List { asking } | Tasks::Show { asking, .. }) => asking.output,
        Verb::Nodes(Nodes::List { asking } | Nodes::Show { asking, .. }) => asking.output,
        Verb::Node(args) => args.output,
    }
}

/// The network that was named, ready to be asked. Whoever waits is told for what, and which nodes were passed over, and why.
pub(crate) fn connect(asking: &Asking) -> Result<Client, Failure> {
    let shown = is_shown(asking.output);
    let told = Mutex::new(Vec::new());
    let pass_over = move |skipped: &Skipped| {
        let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !told.contains(&skipped.node) {
            print_warning(&format!("passed over {}: {}", skipped.node, skipped.why));
            told.push(skipped.node.clone());
        }
    };
    let waiting = move |what: &str| {
        if shown {
            tell(&format!("  waiting for {what}"));
        }
    };
    let NetworkArgs { network, node, wait } = &asking.network;
    let client = connect_to(network, node.as_deref())?.patient(Duration::from_secs(*wait));
    Ok(client.on_skipped(pass_over).on_waiting(waiting))
}

/// The same, by its file.
pub(crate) fn connect_to(file: &Path, prefer: Option<&str>) -> Result<Client, Failure> {
    let network = NetworkFile::read(file).map_err(network_failure)?;
    Ok(Client::new(network, prefer, state_dir(file))?)
}

pub(crate) fn network_failure(error: client::FileError) -> Failure {
    Failure::of(
        &error,
        "--network or SAMOVAR_NETWORK names a file such as the network.toml that `samovar network create` writes",
    )
}

/// Where state is kept between commands: `SAMOVAR_STATE`, the XDG state folder, or beside the network file.
fn state_dir(network_file: &Path) -> StateDir {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("SAMOVAR_STATE")
        .or_else(|| set("XDG_STATE_HOME").map(|folder| folder.join("samovar")))
        .or_else(|| set("HOME").map(|home| home.join(".local/state/samovar")))
        .unwrap_or_else(|| network_file.with_extension("state"));
    StateDir::new(folder)
}

/// The account key that was named.
pub(crate) fn load_key(signing: &Signing) -> Result<AccountKey, Failure> {
    load_key_file(&signing.key)
}

pub(crate) fn load_key_file(file: &Path) -> Result<AccountKey, Failure> {
    Ok(AccountKey::load(file).map_err(client::ClientError::Key)?)
}

/// Inputs are files of one folder for the guest: each has a name of its own.
pub(crate) fn check_names<T>(inputs: &[Named<T>]) -> Result<(), Failure> {
    let twice =
        inputs.iter().enumerate().find(|(at, input)| inputs[..*at].iter().any(|other| other.name == input.name));
    twice.map_or(Ok(()), |(_, input)| {
        Err(Failure::new(format!("two inputs are called {}", input.name), "give each --data its own NAME"))
    })
}

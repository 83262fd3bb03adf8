//! A node whose API lies to an owner must not choose who holds the shares of a key.
//!
//! The liar stands before an honest node's API: what it does not lie about, it passes on.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    sync::Arc,
    thread,
};

use model::{
    Canonical as _, Fact, NodeId, Record,
    api::{IndexedRecord, ProvenRecords},
};

use crate::{
    guests,
    harness::get_as,
    story::{World, refused, succeeded},
};

const DAG_CBOR: &str = "application/vnd.ipld.dag-cbor";

/// What it answers to a path of its own accord.
type Lie = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// Listens before the node at `honest`, as long as the test runs; returns its own address.
fn liar(honest: String, lie: Lie) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let (honest, lie) = (honest.clone(), lie.clone());
            // Whoever hangs up has heard enough.
            thread::spawn(move || drop(answer(connection, &honest, &lie)));
        }
    });
    address
}

/// Answers one request and hangs up.
fn answer(mut asker: TcpStream, honest: &str, lie: &Lie) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        asker.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default();
    if let Some(body) = lie(path) {
        write!(asker, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
        return asker.write_all(&body);
    }
    let mut node = TcpStream::connect(honest)?;
    node.write_all(text.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes())?;
    let (mut body, mut to) = (asker.try_clone()?, node.try_clone()?);
    thread::spawn(move || io::copy(&mut body, &mut to));
    io::copy(&mut node, &mut asker)?;
    asker.shutdown(Shutdown::Both)
}

impl World {
    /// A network file in which the liar answers for a node, alone or before all true nodes.
    fn network_file(&self, name: &str, liar: &str, alone: bool) -> PathBuf {
        let text = std::fs::read_to_string(self.network.file()).unwrap();
        let (general, nodes) = text.split_once("[[nodes]]").unwrap();
        let id = nodes.lines().find(|line| line.starts_with("id")).unwrap();
        let mut text = format!("{general}[[nodes]]\n{id}\napi = \"http://{liar}\"\n");
        if !alone {
            text.push_str(&format!("\n[[nodes]]{nodes}"));
        }
        let file = self.network.path(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    fn publish_through(&self, name: &str, liar: &str, alone: bool) -> std::process::Output {
        let file = self.network_file(name, liar, alone).display().to_string();
        let data = guests::file(&self.network.path("."), &format!("{name}.csv"), name.as_bytes()).display().to_string();
        let terms = guests::file(&self.network.path("."), "anybody.toml", b"").display().to_string();
        let publish = ["publish", "data", &data, "--terms", &terms, "--network", &file, "--json"];
        self.network.samovar(&self.owner, &publish)
    }

    /// What a node says of all nodes.
    fn listed(&self) -> ProvenRecords {
        let bytes = get_as(&self.network.api(0), "/v1/nodes", DAG_CBOR).unwrap();
        ProvenRecords::from_bytes(&bytes, usize::MAX).unwrap()
    }
}

/// Whom a record of the list is about.
fn subject(record: &IndexedRecord) -> NodeId {
    match Record::from_bytes(&record.record.0, usize::MAX).unwrap().fact {
        Fact::Registration(registration) => registration.node,
        Fact::Verdict(verdict) => verdict.node,
        other => panic!("{other:?} in a list of nodes"),
    }
}

pub(crate) fn a_lying_api_does_not_choose_the_custodians(world: &World) {
    let honest = world.network.api(0);
    let before = world.balance(&world.owner);
    let refused_with = |name: &str, lie: Lie, expected: &[&str]| {
        let liar = liar(honest.clone(), lie);
        let (error, _) = refused(&world.publish_through(name, &liar, true));
        for part in expected {
            assert!(error.contains(part), "{name}: {error}");
        }
    };

    // Three friends of the liar are proven, and the fourth node is left out: it is named.
    let (listed, api) = (world.listed(), honest.clone());
    let left_out = subject(&listed.records[0]);
    let friends: Vec<String> = listed
        .records
        .iter()
        .filter(|record| subject(record) != left_out)
        .map(|record| record.index.to_string())
        .collect();
    let records = format!("/v1/records?index={}", friends.join(","));
    let omit: Lie = Arc::new(move |path| (path == "/v1/nodes").then(|| get_as(&api, &records, DAG_CBOR).unwrap()));
    refused_with("omitted", omit.clone(), &["lack", &left_out.to_string()]);
    // With honest nodes beside it, the liar is passed over.
    let liar_first = liar(honest.clone(), omit);
    let published = succeeded(&world.publish_through("passed over", &liar_first, false));
    assert_eq!(published["custodians"].as_array().unwrap().len(), 3);
    let after = world.balance(&world.owner);
    assert!(after < before);

    // A custodian with another key, and a verdict that lives longer than it was given.
    for (name, change) in [("invented", change_registration as fn(&mut Fact)), ("prolonged", prolong_verdict)] {
        let mut forged = listed.clone();
        for entry in &mut forged.records {
            let mut record = Record::from_bytes(&entry.record.0, usize::MAX).unwrap();
            change(&mut record.fact);
            entry.record = model::Blob(record.to_bytes());
        }
        let forged = forged.to_bytes();
        refused_with(name, Arc::new(move |path| (path == "/v1/nodes").then(|| forged.clone())), &["not believed"]);
    }

    // Evidence that cannot be looked at again.
    let other: Lie = Arc::new(|path| path.contains("?format=raw").then(|| b"another block".to_vec()));
    refused_with("unseen", other, &["0 nodes can hold shares", "another block"]);
    assert_eq!(world.balance(&world.owner), after, "what was refused cost nothing");
}

fn change_registration(fact: &mut Fact) {
    if let Fact::Registration(registration) = fact {
        registration.sealing_key.0[7] ^= 1;
    }
}

fn prolong_verdict(fact: &mut Fact) {
    if let Fact::Verdict(verdict) = fact {
        verdict.expires_ms += 3_600_000;
    }
}

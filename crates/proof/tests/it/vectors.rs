//! The vectors that other implementations test against are what this one makes and accepts.

use std::fs;

use model::*;
use proof::{Link, Network, Proof};
use serde::{Deserialize, Serialize};

use crate::{
    attack_links::{resign, terms, with_evidence},
    fixture::{blessing, vectors_dir},
    interop::verify,
    story::{OUTPUT_BYTES_MAX, Story},
};

/// `cases.json`: which file is to be refused, and at which link.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Case {
    file: String,
    /// Empty if it is to be accepted.
    broken_link: String,
    what: String,
}

/// `network.json`: what the verifier knows.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct NetworkFile {
    id: NetworkId,
    key: Bytes96,
    simulated: bool,
}

fn cases() -> Vec<(Case, Vec<u8>)> {
    let case = |file: &str, link: Option<Link>, what: &str, story: &Story| {
        let broken_link = link.map(|link| link.to_string()).unwrap_or_default();
        (Case { file: file.into(), broken_link, what: what.into() }, story.bytes())
    };
    let changed = |file: &str, link: Link, what: &str, change: &dyn Fn(&mut Story)| {
        let mut story = Story::success();
        change(&mut story);
        case(file, Some(link), what, &story)
    };
    let failure = Story::ending(Outcome::Failed(FailureClass::Limit));
    let mut cases = vec![
        case("success.proof", None, "a task that succeeded", &Story::success()),
        case("failure.proof", None, "a task whose guest reached a limit, signed by its executor", &failure),
        changed("deposit.proof", Link::Objects, "the data's deposit is not signed by its owner", &|story| {
            story.forge_deposit();
        }),
        changed("draw.proof", Link::Draw, "the index is not the one the seed gives", &|story| {
            story.change_assignment(|it| it.index = (it.index + 1) % it.eligible_size);
        }),
        changed("verdict.proof", Link::Verdict, "one vote where two are needed", &|story| {
            story.change_verdict(|verdict| verdict.votes.truncate(1));
        }),
        changed("appraisers.proof", Link::Verdict, "one appraiser was not drawn by the window's seed", &|story| {
            story.appraise_by_others();
        }),
        changed("releases.proof", Link::Releases, "one release of the program's key where two are needed", &|story| {
            story.change_settlement(|settlement| {
                settlement.releases.remove(0);
            });
        }),
        changed("result.proof", Link::Storage, "the sealed result is a byte larger than what may leave", &|story| {
            story.resize_result(ledger::result_bytes_max(OUTPUT_BYTES_MAX) + 1);
        }),
        changed("payments.proof", Link::Payments, "an owner was paid one credit more", &|story| {
            story.change_settlement(|settlement| settlement.payments[0].amount += 1);
        }),
    ];
    let large = Story::of_program(10_001, Outcome::Failed(FailureClass::Limit));
    cases.push(case("program.proof", Some(Link::Objects), "the program is larger than the network runs", &large));
    let mut forged = Story::success().proof();
    forged.proven.head.certificate.0[60] ^= 1;
    let what = "one bit of the certificate's signature is flipped".into();
    let forged_case = Case { file: "certificate.proof".into(), broken_link: Link::Finality.to_string(), what };
    cases.push((forged_case, forged.to_bytes()));
    cases.extend(cases_of_other_links());
    cases
}

/// One for each link that has none above.
fn cases_of_other_links() -> Vec<(Case, Vec<u8>)> {
    let case = |file: &str, link: Link, what: &str, bytes: Vec<u8>| {
        (Case { file: file.into(), broken_link: link.to_string(), what: what.into() }, bytes)
    };
    let changed = |file: &str, link: Link, what: &str, change: &dyn Fn(&mut Story)| {
        let mut story = Story::success();
        change(&mut story);
        case(file, link, what, story.bytes())
    };
    let story = Story::success();
    let newer = Proof { version: 2, ..story.proof() };
    let mut genesis = story.genesis.clone();
    genesis.fees.executor += 1;
    let other_rules = Proof { genesis: Blob(genesis.to_bytes()), ..story.proof() };
    let all: Vec<u64> = (0..story.facts().count() as u64).collect();
    let too_many = Proof { proven: story.certified().prove(&all), ..story.proof() };
    vec![
        case("bundle.proof", Link::Bundle, "the bundle is of version 2", newer.to_bytes()),
        case("genesis.proof", Link::Genesis, "the fees of the genesis were changed", other_rules.to_bytes()),
        case("records.proof", Link::Records, "there are records of other nodes", too_many.to_bytes()),
        changed("terms.proof", Link::Terms, "the data's owner had withdrawn it", &|story| {
            terms(story, |terms| terms.revoked = true);
        }),
        changed("evidence.proof", Link::Evidence, "one bit of the quote's signature is flipped", &|story| {
            with_evidence(story, |evidence| evidence.tpm.signature.0[20] ^= 1);
        }),
        changed("receipt.proof", Link::Receipt, "the receipt is for another assignment", &|story| {
            resign(story, |receipt| receipt.assignment = Digest::of(b"other"));
        }),
        changed("storage.proof", Link::Storage, "one copy of the result where two are needed", &|story| {
            story.change_settlement(|settlement| {
                settlement.storage.pop();
            });
        }),
    ]
}

#[test]
fn vectors_are_what_this_implementation_makes_and_judges() {
    let dir = vectors_dir();
    let network = Story::success().file();
    let file = NetworkFile { id: network.id, key: network.key, simulated: true };
    let cases = cases();
    if blessing() {
        fs::create_dir_all(&dir).unwrap();
        for (case, bytes) in &cases {
            fs::write(dir.join(&case.file), bytes).unwrap();
        }
        let list: Vec<_> = cases.iter().map(|(case, _)| case).collect();
        fs::write(dir.join("cases.json"), serde_json::to_string_pretty(&list).unwrap() + "\n").unwrap();
        fs::write(dir.join("network.json"), serde_json::to_string_pretty(&file).unwrap() + "\n").unwrap();
    }
    let read = |name: &str| fs::read(dir.join(name)).unwrap_or_else(|_| panic!("{name} is missing"));
    let known: NetworkFile = serde_json::from_slice(&read("network.json")).unwrap();
    assert_eq!(known, file);
    let network = Network { id: known.id, key: known.key, simulated: known.simulated, checkpoint: None };
    let known: Vec<Case> = serde_json::from_slice(&read("cases.json")).unwrap();
    for (known, (case, bytes)) in known.iter().zip(&cases) {
        assert_eq!((known, &read(&known.file)), (case, bytes));
        let link = verify(bytes, &network).map(drop).map_err(|error| error.link().to_string());
        let expected = if known.broken_link.is_empty() { Ok(()) } else { Err(known.broken_link.clone()) };
        assert_eq!(link, expected, "{}", known.file);
    }
}

//! What an owner is told about what is published: what it costs, what everybody may read, and its id, whatever happens.

use std::{
    fs::OpenOptions,
    process::{Command, Stdio},
};

use crate::{
    guests,
    harness::SAMOVAR,
    story::{World, refused, succeeded},
};

pub(crate) fn an_owner_is_told_before_and_after(world: &World) {
    let file = |name: &str, bytes: &[u8]| guests::file(&world.network.path("."), name, bytes).display().to_string();
    let (data, terms) = (file("told.csv", b"a;b\n1;2\n"), file("told.toml", b""));
    let publish = |more: &[&str]| {
        world.network.samovar(&world.owner, &[&["publish", "data", &data, "--terms", &terms], more].concat())
    };
    let objects = || world.network.json(&world.owner, &["objects", "list"])["objects"].as_array().unwrap().len();
    let (known, before) = (objects(), world.balance(&world.owner));

    // The data as its own sample, by its name or as a copy, would be published in clear.
    for sample in [&data, &file("copy.csv", b"a;b\n1;2\n")] {
        let (error, _) = refused(&publish(&["--sample", sample]));
        assert!(error.contains("a sample is published in clear"), "{error}");
    }
    assert_eq!((objects(), world.balance(&world.owner)), (known, before));

    // What everybody may read is counted, and terms that nobody can meet are noticed.
    let dead = file("dead.toml", b"uses_max = 0\nexpires = 2020-01-01\nprice = 9223372036854775807\n");
    let (dummy, describe) = (file("dummy.csv", b"a;b\n0;0\n0;0\n"), file("describe.toml", b"title = \"T\"\n"));
    let publish = ["publish", "data", &data, "--terms", &dead, "--sample", &dummy, "--describe", &describe];
    let published = world.network.samovar(&world.owner, &publish);
    let said = String::from_utf8_lossy(&published.stderr).into_owned();
    assert!(published.status.success(), "{said}");
    for expected in [
        "sample: published in clear, 12 bytes",
        "description: published in clear, ",
        "warning: nobody can use the object under these terms: they ended on 2020-01-01",
        "uses_max = 0 allows no use",
        "the price is more than the ",
        String::from_utf8_lossy(&published.stdout).trim(),
    ] {
        assert!(said.contains(expected), "{expected} is missing: {said}");
    }
}

pub(crate) fn a_poor_account_is_told_what_it_lacks(world: &World) {
    let poor = world.network.path("poor.key");
    assert!(Command::new(SAMOVAR).arg("keygen").arg(&poor).output().unwrap().status.success());
    let publish = || refused(&world.try_to_publish(&poor, "data", "poor.bin", b"x", "", &[]));
    let (error, hint) = publish();
    assert!(error.contains(" has 0 credits and needs ") && hint.contains("account top-up"), "{error}: {hint}");
    world.network.json(&poor, &["account", "top-up", "5"]);
    let (error, _) = publish();
    assert!(error.contains(" has 3 credits and needs 4 "), "{error}");

    // What is left of its credits after a fee that was never taken is not what it has.
    let (program, data) = (world.program(&guests::hello(0)), world.data(b"x", "price = 50\n"));
    let (out, input) = (world.network.path("poor").display().to_string(), format!("in={data}"));
    let run = ["run", &program, "--data", &input, "--max-price", "5000", "--out", &out];
    let (error, _) = refused(&world.network.samovar(&poor, &run));
    assert!(error.contains(" has 3 credits and needs "), "{error}");

    // Whoever has just enough is not kept out.
    world.network.json(&poor, &["account", "top-up", "3"]);
    assert!(world.try_to_publish(&poor, "data", "poor.bin", b"x", "", &[]).status.success());
    assert_eq!(world.balance(&poor), 0);
}

pub(crate) fn what_was_paid_for_is_named_if_stdout_is_full(world: &World) {
    let file = |name: &str, bytes: &[u8]| guests::file(&world.network.path("."), name, bytes).display().to_string();
    let (data, terms) = (file("full.csv", b"full"), file("full.toml", b""));
    for more in [&[][..], &["--json"]] {
        let published = Command::new(SAMOVAR)
            .args([&["publish", "data", &data, "--terms", &terms], more].concat())
            .env("SAMOVAR_NETWORK", world.network.file())
            .env("SAMOVAR_KEY", &world.owner)
            .stdin(Stdio::null())
            .stdout(OpenOptions::new().write(true).open("/dev/full").unwrap())
            .output()
            .unwrap();
        let (error, _) = refused(&published);
        assert!(error.contains("cannot write to standard output"), "{error}");
        let said = String::from_utf8_lossy(&published.stderr).into_owned();
        let object = said.split_whitespace().find(|word| word.starts_with("bafy")).expect("an object id");
        succeeded(&world.network.samovar(&world.owner, &["objects", "show", object, "--json"]));
    }
}

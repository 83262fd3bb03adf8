//! What a running network answers is what `/openapi.json` says, field by field: a client can be made from it.

use model::{
    Blob, Canonical, Fact, PublishedObject, Record, Signed, Transaction,
    api::{DepositRequest, ProvenRecords},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    guests,
    harness::{Network, get, get_as, request},
    story::{World, succeeded},
};

/// The document that a node serves.
struct Document(Value);

impl Document {
    fn of(network: &Network) -> Self {
        let bytes = get(&network.api(0), "/openapi.json").expect("a document");
        Self(serde_json::from_slice(&bytes).expect("JSON"))
    }

    /// What an operation answers when all is well, or takes, as JSON.
    fn schema(&self, method: &str, path: &str, part: &[&str]) -> &Value {
        let operation = &self.0["paths"][path][method];
        let schema = part.iter().fold(operation, |value, key| &value[*key]);
        assert!(schema.is_object(), "{method} {path} has no {part:?}");
        schema
    }

    fn answer(&self, path: &str) -> &Value {
        self.schema("get", path, &["responses", "200", "content", "application/json", "schema"])
    }

    fn posted(&self, path: &str) -> &Value {
        self.schema("post", path, &["responses", "200", "content", "application/json", "schema"])
    }

    fn taken(&self, path: &str) -> &Value {
        self.schema("post", path, &["requestBody", "content", "application/json", "schema"])
    }

    fn named(&self, name: &str) -> &Value {
        &self.0["components"]["schemas"][name]
    }

    fn holds(&self, schema: &Value, value: &impl Serialize) {
        let value = serde_json::to_value(value).expect("JSON");
        if let Err(why) = self.check(schema, &value, "") {
            panic!("{why}\nin {value:#}");
        }
    }

    /// As much of JSON Schema as the document uses; a keyword that is not known here is a mistake in one of the two.
    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        for (keyword, rule) in schema.as_object().expect("a schema") {
            let holds = match keyword.as_str() {
                "description" | "format" | "additionalProperties" | "maximum" => true,
                "$ref" => {
                    let name = rule.as_str().and_then(|rule| rule.strip_prefix("#/components/schemas/"));
                    self.check(self.named(name.expect("a name")), value, at)?;
                    true
                }
                "type" => is_of_type(value, rule.as_str().expect("a type")),
                "minimum" => value.as_u64().is_some(),
                "enum" => rule.as_array().expect("a list").contains(value),
                "pattern" => is_like(value.as_str().unwrap_or_default(), rule.as_str().expect("a pattern")),
                "oneOf" => {
                    let fits = |schema: &&Value| self.check(schema, value, at).is_ok();
                    rule.as_array().expect("a list").iter().filter(fits).count() == 1
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{at}/{index}"))?;
                    }
                    true
                }
                "required" => {
                    rule.as_array().expect("a list").iter().all(|key| value.get(key.as_str().expect("a key")).is_some())
                }
                "properties" => {
                    assert_eq!(schema["additionalProperties"], false, "{at}");
                    for (key, field) in value.as_object().into_iter().flatten() {
                        let rule = rule.get(key).ok_or_else(|| format!("{at} has an unknown {key}"))?;
                        self.check(rule, field, &format!("{at}/{key}"))?;
                    }
                    true
                }
                other => panic!("{at}: the keyword {other} is not understood"),
            };
            if !holds {
                return Err(format!("{at}: {keyword} {rule} does not hold"));
            }
        }
        Ok(())
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not understood"),
    }
}

/// The patterns of the document are a beginning and one repeated class: `^bafy[a-z2-7]{55}$`, `^([0-9a-f]{2})*$`.
fn is_like(text: &str, pattern: &str) -> bool {
    if pattern == "^([0-9a-f]{2})*$" {
        return text.len().is_multiple_of(2) && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
    }
    let inner = pattern.strip_prefix('^').and_then(|pattern| pattern.strip_suffix("}$")).expect("a simple pattern");
    let (start, class) = inner.split_once('[').expect("a class");
    let (class, count) = class.split_once("]{").expect("a count");
    let Some(rest) = text.strip_prefix(start) else { return false };
    rest.len() == count.parse::<usize>().expect("a number") && rest.chars().all(|c| is_in(c, class))
}

fn is_in(c: char, class: &str) -> bool {
    let class: Vec<char> = class.chars().collect();
    let mut at = 0;
    while at < class.len() {
        if class.get(at + 1) == Some(&'-') {
            if (class[at]..=class[at + 2]).contains(&c) {
                return true;
            }
            at += 3;
        } else if class[at] == c {
            return true;
        } else {
            at += 1;
        }
    }
    false
}

pub(crate) fn answers_are_what_the_document_says(world: &World) {
    let program = world.program(&guests::hello(0));
    let data = world.data(b"described", "requesters = []\nprice = 1\n");
    let open = world.data(b"described as well", "");
    let task = succeeded(&world.run(&program, &open, "described", &["--json"]))["task"].as_str().unwrap().to_owned();
    let document = Document::of(&world.network);
    let api = world.network.api(0);

    let transaction: Signed<Transaction> = decode(&world.read("described/task"));
    let zero = "0".repeat(64);
    let paths = [
        ("/v1/genesis", "/v1/genesis".to_owned()),
        ("/v1/status", "/v1/status".to_owned()),
        ("/v1/head", "/v1/head".to_owned()),
        ("/v1/extension", "/v1/extension?from=3".to_owned()),
        ("/v1/consistency", "/v1/consistency?from=2&to=3".to_owned()),
        ("/v1/records", "/v1/records?index=0,2".to_owned()),
        ("/v1/state/{key}", format!("/v1/state/{zero}")),
        ("/v1/state/{key}", format!("/v1/state/{}", model::Digest(ledger::key::roster()))),
        ("/v1/transactions/{id}", format!("/v1/transactions/{zero}")),
        ("/v1/transactions/{id}", format!("/v1/transactions/{}?wait=final", transaction.id())),
        ("/v1/objects", "/v1/objects?kind=data".to_owned()),
        ("/v1/objects/{id}", format!("/v1/objects/{data}")),
        ("/v1/nodes", "/v1/nodes".to_owned()),
        ("/v1/tasks", "/v1/tasks".to_owned()),
        ("/v1/tasks", format!("/v1/tasks?after={task}")),
        ("/v1/tasks/{id}", format!("/v1/tasks/{task}?wait=settled")),
    ];
    for (described, path) in &paths {
        let answer: Value = serde_json::from_slice(&get(&api, path).expect(path)).expect("JSON");
        document.holds(document.answer(described), &answer);
    }
    let described = document.0["paths"].as_object().unwrap();
    let json_answers = described.iter().filter(|(path, operations)| {
        operations.get("get").is_some_and(|get| get["responses"]["200"]["content"].get("application/json").is_some())
            && *path != "/openapi.json"
    });
    for (path, _) in json_answers {
        assert!(paths.iter().any(|(asked, _)| asked == path), "{path} was not asked");
    }

    // Events, problems, and what is posted.
    let event = first_event(&api, &task);
    document.holds(document.named("TaskEvent"), &event);
    document.holds(document.named("Problem"), &problem(&api, "/v1/tasks/none"));
    document.holds(document.taken("/v1/transactions"), &transaction);
    for object in published(&api, &[&program, &data]) {
        document.holds(document.named("PublishedObject"), &object);
        document.holds(document.posted("/v1/deposits"), &object.deposit_acks[0]);
        document.holds(document.posted("/v1/content/{cid}/acknowledge"), &object.storage[0]);
        let request = DepositRequest {
            manifest: object.manifest,
            deposit: object.deposit,
            index: 1,
            sealed_share: Blob(vec![7; 9]),
        };
        document.holds(document.taken("/v1/deposits"), &request);
    }

    // What is not so described does not pass.
    let status = document.answer("/v1/status");
    for wrong in [json!({}), json!(7), json!({ "node": "did:key:z6Mk" })] {
        assert!(document.check(status, &wrong, "").is_err(), "{wrong}");
    }
}

fn decode<T: Canonical>(bytes: &[u8]) -> T {
    T::from_bytes(bytes, usize::MAX).expect("canonical bytes")
}

fn published(api: &str, ids: &[&String]) -> Vec<PublishedObject> {
    let object = |id: &&String| {
        let bytes = get_as(api, &format!("/v1/objects/{id}"), "application/vnd.ipld.dag-cbor").expect("an answer");
        let records = decode::<ProvenRecords>(&bytes).records;
        records.iter().find_map(|entry| match decode::<Record>(&entry.record.0).fact {
            Fact::Object(object) => Some(*object),
            _ => None,
        })
    };
    ids.iter().filter_map(object).collect()
}

fn first_event(api: &str, task: &str) -> Value {
    use std::io::Read as _;
    let mut text = String::new();
    let path = format!("/v1/tasks/{task}/events");
    request(api, &path, "text/event-stream").expect("a node").read_to_string(&mut text).expect("a task that has ended");
    let data = text.lines().find_map(|line| line.strip_prefix("data:")).expect("an event");
    serde_json::from_str(data).expect("JSON")
}

fn problem(api: &str, path: &str) -> Value {
    use std::io::Read as _;
    let mut text = String::new();
    request(api, path, "application/json").expect("a node").read_to_string(&mut text).expect("an answer");
    serde_json::from_str(text.rsplit("\r\n\r\n").next().expect("a body")).expect("JSON")
}

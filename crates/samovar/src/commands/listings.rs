//! `objects`, `tasks` and `nodes`: what the ledger knows, checked.

use client::{Client, NodeView, ObjectView, TaskView, TermsDraft, describe_terms, show_time};
use model::{Description, NodeId, ObjectId, TaskId, Terms};
use serde_json::{Value, json};

use super::{connect, load_key};
use crate::{
    cli::{Nodes, Objects, Tasks},
    failure::Failure,
    ui::{Answer, notes, print_warning, with_trust},
};

pub(crate) async fn objects(verb: Objects) -> Result<Answer, Failure> {
    match verb {
        Objects::List { kind, asking } => list_objects(&connect(&asking)?, kind.map(Into::into)).await,
        Objects::Show { object, asking } => show_object(&connect(&asking)?, &object).await,
        Objects::Terms { object, terms, signing } => {
            let (client, key) = (connect(&signing.asking)?, load_key(&signing)?);
            let (view, _) = client.object(&object).await?;
            let draft = TermsDraft::read(&terms, view.kind())?;
            client.why_dead(&draft, view.kind()).await?.iter().for_each(|why| print_warning(why));
            changed(view, client.set_terms(&key, &object, draft).await?)
        }
        Objects::Revoke { object, signing } => {
            let (client, key) = (connect(&signing.asking)?, load_key(&signing)?);
            let (view, _) = client.object(&object).await?;
            changed(view, client.revoke(&key, &object).await?)
        }
    }
}

fn changed(view: ObjectView, terms: Terms) -> Result<Answer, Failure> {
    let text = describe_terms(&terms, view.kind()).iter().map(|line| format!("  {line}\n")).collect::<String>();
    Ok(Answer::new(
        json!({ "object": view.id, "terms": terms }),
        format!("{}\nterms {} hold now:\n{text}", view.id, terms.serial),
    ))
}

async fn list_objects(client: &Client, kind: Option<model::ObjectKind>) -> Result<Answer, Failure> {
    let (head, objects) = client.objects(kind).await?;
    let copies_needed = client.genesis().await?.limits.copies;
    let text = objects.iter().map(|object| object_line(object, head.time_ms(), copies_needed)).collect::<String>();
    let list: Vec<Value> = objects.iter().map(|object| object_json(object, head.time_ms())).collect();
    let json = json!({ "height": head.height(), "time_ms": head.time_ms(), "objects": list });
    told(client, json, if text.is_empty() { "no objects\n".to_owned() } else { text }).await
}

fn object_line(object: &ObjectView, time_ms: u64, copies_needed: u32) -> String {
    let manifest = object.object.manifest.unverified();
    let title = manifest.description.as_ref().map_or("", |description| &description.title);
    let terms = match object.terms.as_ref().map(|terms| terms.unverified()) {
        Some(terms) if terms.revoked => "revoked".to_owned(),
        Some(terms) => format!("{} credits", terms.price),
        None => String::new(),
    };
    let copies = format!("{} of {copies_needed} copies", object.copies(time_ms));
    let kind = manifest.kind.to_string();
    format!("{}  {kind:<7}  {terms:<12}  {copies}  {title}", object.id).trim_end().to_owned() + "\n"
}

fn object_json(object: &ObjectView, time_ms: u64) -> Value {
    let manifest = object.object.manifest.unverified();
    json!({
        "object": object.id,
        "kind": manifest.kind,
        "owner": manifest.owner,
        "description": manifest.description,
        "sample": manifest.sample,
        "ciphertext": manifest.ciphertext,
        "ciphertext_bytes": manifest.ciphertext_bytes,
        "published_ms": object.published_ms,
        "terms": object.terms.as_ref().map(|terms| terms.unverified()),
        "threshold": object.object.deposit.unverified().threshold,
        "custodians": object.object.deposit.unverified().custodians.iter().map(|holder| holder.node).collect::<Vec<_>>(),
        "copies": object.copies(time_ms),
    })
}

async fn show_object(client: &Client, id: &ObjectId) -> Result<Answer, Failure> {
    let (object, state) = client.object(id).await?;
    let copies_needed = client.genesis().await?.limits.copies;
    let manifest = object.object.manifest.unverified();
    let now_ms = client::now_ms();
    let mut text =
        format!("{id}\n{} of {}\npublished {}\n", manifest.kind, manifest.owner, show_time(object.published_ms));
    if let Some(description) = &manifest.description {
        text.push_str(&description_text(description));
    }
    if let Some(sample) = manifest.sample {
        text.push_str(&format!("sample: {sample} (samovar try … --data NAME=sample:{id})\n"));
    }
    if let Some(terms) = object.terms.as_ref().map(|terms| terms.unverified()) {
        text.push_str(&format!("\nterms {}\n", terms.serial));
        text.extend(describe_terms(terms, manifest.kind).iter().map(|line| format!("  {line}\n")));
        text.push_str(&format!("  used {} times\n", state.uses));
    }
    let deposit = object.object.deposit.unverified();
    text.push_str(&format!("\nkey: any {} of {} custodians together\n", deposit.threshold, deposit.custodians.len()));
    text.extend(deposit.custodians.iter().map(|holder| format!("  {}\n", holder.node)));
    text.push_str(&format!(
        "ciphertext: {} ({} bytes), {} of {copies_needed} copies\n",
        manifest.ciphertext,
        manifest.ciphertext_bytes,
        object.copies(now_ms),
    ));
    let mut json = object_json(&object, now_ms);
    json["uses"] = json!(state.uses);
    json["revoked"] = json!(state.revoked);
    told(client, json, text).await
}

fn description_text(description: &Description) -> String {
    let mut text = String::new();
    for (name, value) in [("", &description.title), ("", &description.text)] {
        if !value.is_empty() {
            text.push_str(&format!("{name}{}\n", value.trim_end()));
        }
    }
    for (name, value) in [("rows", &description.rows), ("licence", &description.licence)] {
        if !value.is_empty() {
            text.push_str(&format!("{name}: {value}\n"));
        }
    }
    for column in &description.columns {
        let unit = if column.unit.is_empty() { String::new() } else { format!(" [{}]", column.unit) };
        text.push_str(format!("  {}{unit}  {}", column.name, column.about).trim_end());
        text.push('\n');
    }
    text
}

pub(crate) async fn tasks(verb: Tasks) -> Result<Answer, Failure> {
    match verb {
        Tasks::List { asking } => list_tasks(&connect(&asking)?).await,
        Tasks::Show { task, asking } => show_task(&connect(&asking)?, &task).await,
    }
}

async fn list_tasks(client: &Client) -> Result<Answer, Failure> {
    let (head, tasks) = client.tasks().await?;
    let lines = tasks.iter().map(|task| {
        format!("{}  {}  {:<15}  {}\n", task.id, show_time(task.asked_ms), task.standing(), task.task.requester)
    });
    let text: String = lines.collect();
    let list: Vec<Value> = tasks.iter().map(task_json).collect();
    let json = json!({ "height": head.height(), "time_ms": head.time_ms(), "tasks": list });
    told(client, json, if text.is_empty() { "no tasks\n".to_owned() } else { text }).await
}

fn task_json(task: &TaskView) -> Value {
    let settled = task.settlement.as_ref();
    json!({
        "task": task.id,
        "standing": task.standing(),
        "asked_ms": task.asked_ms,
        "settled_ms": settled.map(|settled| settled.time_ms),
        "requester": task.task.requester,
        "program": task.task.program,
        "inputs": task.task.inputs,
        "args": task.task.args,
        "executor": task.assignments.last().map(|assignment| assignment.executor),
        "attempts": task.assignments.len(),
        "failure": settled.and_then(|settled| settled.settlement.failure()),
        "payments": settled.map(|settled| &settled.settlement.payments),
    })
}

async fn show_task(client: &Client, id: &TaskId) -> Result<Answer, Failure> {
    let task = client.task(id).await?;
    let mut text = format!(
        "task {id}\n{}\nasked for by {}\n  at {}\n  program {}\n",
        task.standing(),
        task.task.requester,
        show_time(task.asked_ms),
        task.task.program
    );
    text.extend(task.task.inputs.iter().map(|input| format!("  data {}={}\n", input.name, input.object)));
    if !task.task.args.is_empty() {
        text.push_str(&format!("  arguments {:?}\n", task.task.args));
    }
    for assignment in &task.assignments {
        text.push_str(&format!(
            "drawn {} of {}: {} (attempt {})\n",
            assignment.index + 1,
            assignment.eligible_size,
            assignment.executor,
            assignment.attempt
        ));
    }
    if let Some(settled) = &task.settlement {
        text.push_str(&format!("settled at {}\n", show_time(settled.time_ms)));
        text.push_str(&payment_lines(&settled.settlement.payments));
    }
    told(client, task_json(&task), text).await
}

/// Who got what, one line each.
pub(crate) fn payment_lines(payments: &[model::Payment]) -> String {
    let line =
        |payment: &model::Payment| format!("  {:>8} credits  {:<10} {}\n", payment.amount, payment.reason, payment.to);
    payments.iter().map(line).collect()
}

pub(crate) async fn nodes(verb: Nodes) -> Result<Answer, Failure> {
    match verb {
        Nodes::List { asking } => list_nodes(&connect(&asking)?).await,
        Nodes::Show { did, asking } => show_node(&connect(&asking)?, &did).await,
    }
}

async fn list_nodes(client: &Client) -> Result<Answer, Failure> {
    let (head, nodes) = client.nodes().await?;
    let text: String = nodes.iter().map(|node| format!("{}  {}\n", node.id(), verdict_words(node))).collect();
    let list: Vec<Value> = nodes.iter().map(node_json).collect();
    let json = json!({ "height": head.height(), "time_ms": head.time_ms(), "nodes": list });
    told(client, json, if text.is_empty() { "no node has a verdict yet\n".to_owned() } else { text }).await
}

fn verdict_words(node: &NodeView) -> String {
    let verdict = &node.verdict;
    let holds = if node.is_fresh(0) { "holds until" } else { "EXPIRED at" };
    let mut words = format!(
        "verdict {holds} {}, {} of {} appraisers, release {}",
        show_time(verdict.expires_ms),
        verdict.votes.len(),
        verdict.drawn.len(),
        verdict.result.release_counter
    );
    for (is, word) in [(verdict.result.simulated, ", simulated"), (verdict.result.self_measured, ", self-measured")] {
        if is {
            words.push_str(word);
        }
    }
    words
}

fn node_json(node: &NodeView) -> Value {
    json!({
        "node": node.id(),
        "operator": node.registration.operator,
        "region": node.registration.region,
        "fresh": node.is_fresh(0),
        "expires_ms": node.verdict.expires_ms,
        "simulated": node.verdict.result.simulated,
        "self_measured": node.verdict.result.self_measured,
        "release_counter": node.verdict.result.release_counter,
        "evidence": node.verdict.evidence,
        "votes": node.verdict.votes.len(),
        "drawn": node.verdict.drawn,
    })
}

async fn show_node(client: &Client, id: &NodeId) -> Result<Answer, Failure> {
    let (node, state) = client.node(id).await?;
    let api = client.network_file().nodes.iter().find(|entry| entry.id == *id).map(|entry| entry.api.clone());
    let mut json = node_json(&node);
    json["api"] = json!(api);
    json["running"] = json!(state.running);
    json["lapsed"] = json!(state.lapsed);
    let mut text = format!(
        "{id}\noperator {}, region {}\n{}\nevidence {}\ntasks under way: {}\n",
        node.registration.operator,
        node.registration.region,
        verdict_words(&node),
        node.verdict.evidence,
        state.running
    );
    if state.lapsed {
        text.push_str("let a task lapse: gets none until it is appraised again\n");
    }
    if let Some(api) = api {
        text.push_str(&format!("api {api}\n"));
    }
    // Of one node its own verdict says more than the rules of its network.
    let own = json.clone();
    let mut answer = told(client, json, text).await?;
    for field in ["simulated", "self_measured"] {
        answer.json[field] = own[field].clone();
    }
    Ok(answer)
}

/// An answer with what everything on its network rests on.
async fn told(client: &Client, json: Value, text: String) -> Result<Answer, Failure> {
    let trust = client.trust().await?;
    Ok(Answer::new(with_trust(json, &trust), format!("{text}{}", notes(&trust))))
}

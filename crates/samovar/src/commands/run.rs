//! `run`, `fetch` and `quote`.

use client::{Client, Finished, Request};
use model::{Input, ObjectId};
use serde_json::json;

use super::{check_names, connect, listings::payment_lines, load_key};
use crate::{
    cli::{Combination, Fetch, LimitArgs, Quote, Run},
    failure::Failure,
    ui::{Answer, Phases, notes, print_warning, with_trust},
};

pub(crate) async fn run(args: &Run) -> Result<Answer, Failure> {
    let request = request(&args.what, &args.args, &args.limits, args.max_price)?;
    let key = load_key(&args.signing)?;
    let client = connect(&args.signing.asking)?;
    if let Some(asked) = args.limits.output_limit {
        warn_of_bound(&client, &request, asked).await?;
    }
    let watch = Phases::on_terminal(args.signing.output());
    let finished = client.run(&key, &request, &args.out, &watch).await?;
    Ok(report(&finished, Some(&watch)))
}

pub(crate) async fn fetch(args: &Fetch) -> Result<Answer, Failure> {
    let key = load_key(&args.signing)?;
    let client = connect(&args.signing.asking)?;
    let watch = Phases::on_terminal(args.signing.output());
    let finished = client.fetch(&key, &args.task, &args.out, &watch).await?;
    Ok(report(&finished, None))
}

/// Whoever asks for more than may leave hears it before anything is paid.
async fn warn_of_bound(client: &Client, request: &Request, asked: u64) -> Result<(), Failure> {
    let objects = [request.program].into_iter().chain(request.inputs.iter().map(|input| input.object));
    if let Some(bound) = client.output_bound_of_terms(objects).await?.filter(|bound| bound.bytes < asked) {
        print_warning(&format!(
            "at most {} bytes leave, bound by the terms of {}; --output-limit asks for {asked}",
            bound.bytes, bound.object
        ));
    }
    Ok(())
}

/// What was typed, as a request.
fn request(what: &Combination, args: &[String], limits: &LimitArgs, price_max: u64) -> Result<Request, Failure> {
    let Combination { program, inputs } = what;
    check_names(inputs)?;
    let objects: Vec<&ObjectId> = [program].into_iter().chain(inputs.iter().map(|input| &input.what)).collect();
    if let Some(twice) = objects.iter().enumerate().find(|(at, id)| objects[..*at].contains(id)) {
        return Err(Failure::new(
            format!("{} is named twice", twice.1),
            "a task uses each object once; which id is the program, and which the data?",
        ));
    }
    Ok(Request {
        program: *program,
        inputs: inputs.iter().map(|input| Input { name: input.name.clone(), object: input.what }).collect(),
        args: args.to_vec(),
        limits: limits.limits(),
        metering: limits.metering.into(),
        price_max,
    })
}

fn report(finished: &Finished, phases: Option<&Phases>) -> Answer {
    let json = json!({
        "verified": true,
        "task": finished.task,
        "exit_code": finished.exit_code,
        "result": finished.result,
        "proof": finished.proof,
        "payments": finished.payments,
        "warnings": finished.trust.warnings,
    });
    let mut json = with_trust(json, &finished.trust);
    if let Some(phases) = phases {
        json["phases_ms"] = phases.to_json();
    }
    let text = format!(
        "task {}\nresult {} (exit code {})\nproof {}\npaid\n{}{}verified",
        finished.task,
        finished.result.display(),
        finished.exit_code,
        finished.proof.display(),
        payment_lines(&finished.payments),
        notes(&finished.trust),
    );
    Answer::new(json, text)
}

pub(crate) async fn quote(args: &Quote) -> Result<Answer, Failure> {
    let request = request(&args.what, &[], &args.limits, u64::MAX)?;
    let key = load_key(&args.signing)?;
    let client = connect(&args.signing.asking)?;
    let quote = client.quote(key.account(), &request).await?;
    let allowed = quote.obstacles.is_empty();
    let mut text = String::from(if allowed { "allowed\n" } else { "not allowed\n" });
    for obstacle in &quote.obstacles {
        let whose = obstacle.owner.map_or_else(|| "the network".to_owned(), |owner| owner.to_string());
        text.push_str(&format!("  {} (rule of {whose})\n", obstacle.reason));
    }
    text.push_str(&format!("price {} credits, transaction fees apart\n", quote.total));
    for owner in &quote.owners {
        text.push_str(&format!("  {:>8}  {} to {}\n", owner.price, owner.object, owner.owner));
    }
    text.push_str(&format!("  {:>8}  network\n", quote.network.total().unwrap_or(u64::MAX)));
    let (bytes, whose) = quote.output_bytes_max;
    let whose = whose.map_or_else(|| "as asked".to_owned(), |object| format!("rule of {object}"));
    text.push_str(&format!("output at most {bytes} bytes ({whose})\nnodes with a fresh verdict: {}\n", quote.nodes));
    let json = json!({
        "allowed": allowed,
        "obstacles": quote.obstacles.iter().map(|obstacle| json!({
            "owner": obstacle.owner, "reason": obstacle.reason,
        })).collect::<Vec<_>>(),
        "price": quote.total,
        "owners": quote.owners.iter().map(|owner| json!({
            "object": owner.object, "owner": owner.owner, "price": owner.price,
        })).collect::<Vec<_>>(),
        "network_fee": quote.network.total(),
        "output_bytes_max": bytes,
        "limits_max": quote.limits_max,
        "nodes": quote.nodes,
    });
    Ok(Answer::new(json, text))
}

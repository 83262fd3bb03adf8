//! `publish`.

use client::{Publication, TermsDraft, describe_terms, read_description};
use model::ObjectKind;
use serde_json::json;

use super::{connect, load_key};
use crate::{
    cli::Publish,
    failure::Failure,
    ui::{Answer, Phases},
};

pub(crate) async fn publish(args: &Publish) -> Result<Answer, Failure> {
    let kind = ObjectKind::from(args.kind);
    let publication = Publication {
        kind,
        file: args.file.clone(),
        terms: args.terms.as_deref().map_or_else(|| Ok(TermsDraft::default()), |file| TermsDraft::read(file, kind))?,
        description: args.describe.as_deref().map(read_description).transpose()?,
        sample: args.sample.clone(),
    };
    let key = load_key(&args.signing)?;
    let client = connect(&args.signing.asking)?;
    let watch = Phases::on_terminal(args.signing.output());
    let published = client.publish(&key, &publication, &watch).await?;
    if !args.signing.output().json {
        // On stderr, so that stdout is the id alone and can be put into a variable.
        eprintln!("published {kind} of {}", key.account());
        for line in describe_terms(&published.terms, kind) {
            eprintln!("  {line}");
        }
        eprintln!(
            "  key: any {} of {} custodians together, copies: {}",
            published.threshold,
            published.custodians.len(),
            published.copies
        );
    }
    let json = json!({
        "object": published.object,
        "kind": kind,
        "owner": key.account(),
        "terms": published.terms,
        "threshold": published.threshold,
        "custodians": published.custodians,
        "copies": published.copies,
    });
    Ok(Answer::new(json, published.object.to_string()))
}

//! `keygen` and `account`.

use std::path::Path;

use custody::AccountKey;
use model::AccountId;
use serde_json::json;

use super::{connect, load_key, load_key_file};
use crate::{
    cli::{Asking, Keygen, Signing},
    failure::{Failure, OWN_FAULT},
    ui::Answer,
};

const KEY_EXISTS: &str = "name another file; a key that is overwritten is lost";

pub(crate) fn keygen(args: &Keygen) -> Result<Answer, Failure> {
    let key = AccountKey::generate().map_err(|cause| Failure::of(&cause, OWN_FAULT))?;
    key.save(&args.file).map_err(|cause| {
        Failure::of(&cause, if args.file.exists() { KEY_EXISTS } else { "is the folder there, and yours?" })
    })?;
    let account = key.account();
    Ok(Answer::new(json!({ "account": account, "file": args.file }), account.to_string()))
}

pub(crate) async fn show(account: Option<AccountId>, asking: &Asking, key: Option<&Path>) -> Result<Answer, Failure> {
    let account = match (account, key) {
        (Some(account), _) => account,
        (None, Some(file)) => load_key_file(file)?.account(),
        (None, None) => return Err(Failure::new("no account is named", "name one with --key FILE or --account DID")),
    };
    let client = connect(asking)?;
    let state = client.account(&account).await?;
    Ok(describe(account, state))
}

pub(crate) async fn top_up(amount: u64, signing: &Signing) -> Result<Answer, Failure> {
    let key = load_key(signing)?;
    let client = connect(&signing.asking)?;
    let state = client.top_up(&key, amount).await?;
    Ok(describe(key.account(), state))
}

fn describe(account: AccountId, state: ledger::state::AccountState) -> Answer {
    Answer::new(
        json!({ "account": account, "balance": state.balance, "nonce": state.nonce }),
        format!("{account}\n{} credits", state.balance),
    )
}

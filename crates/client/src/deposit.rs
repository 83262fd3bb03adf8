//! Giving the shares of a key to custodians, also while some of them are down.
//!
//! Only a custodian can open its share, and it signs that it has it; so it does not matter who brings it. A custodian whose
//! API is not known, or does not answer, is reached through any other node.
//!
//! Whoever does not take a share is replaced, and the key is split anew: shares of two splits do not fit together. No
//! more are replaced than can be down while the network goes on. A node that brings nothing to anybody but its friends
//! would otherwise choose who holds the key.

use custody::{AccountKey, ContentKey, Holder};
use model::{Canonical as _, Deposit, DepositAck, Manifest, NodeId, Signed, api::DepositRequest};

use crate::{
    client::Client,
    custodians::{Candidates, THRESHOLD},
    error::{ClientError, Skipped},
    listing::NodeView,
    nodes::{Miss, Question, conclude, decode},
    progress::{Progress, Watch},
};

/// A deposit, and what its custodians have signed, in their order.
pub(crate) type Deposited = (Signed<Deposit>, Vec<Signed<DepositAck>>);

impl Client {
    /// Splits a key among candidates until each of those chosen has its share.
    pub(crate) async fn deposit(
        &self,
        owner: &AccountKey,
        manifest: &Signed<Manifest>,
        key: &ContentKey,
        mut candidates: Candidates,
        watch: &dyn Watch,
    ) -> Result<Deposited, ClientError> {
        let genesis = self.genesis().await?;
        let replaced_max = genesis.validators.len().saturating_sub(1) / 3;
        let (mut replaced, mut rules) = (Vec::new(), Vec::new());
        loop {
            let holders = candidates.choose(genesis.custody, &replaced)?;
            let silent = match self.deposit_with(owner, manifest, key, &holders).await? {
                Ok(deposited) => return Ok(deposited),
                Err(silent) => silent,
            };
            for (node, cause) in silent {
                candidates.remove(&node);
                replaced.push(Skipped { node: node.to_string(), why: cause.to_string() });
                if let ClientError::Refused { error, .. } = cause {
                    rules.push((node, error));
                }
            }
            if replaced.len() > replaced_max {
                return Err(not_taken(replaced, rules));
            }
            watch.see(Progress::Step("splitting the key anew: not everybody has taken a share"));
        }
    }

    /// One split; or those who did not take their shares, and why.
    async fn deposit_with(
        &self,
        owner: &AccountKey,
        manifest: &Signed<Manifest>,
        key: &ContentKey,
        nodes: &[NodeView],
    ) -> Result<Result<Deposited, Vec<(NodeId, ClientError)>>, ClientError> {
        let holders: Vec<Holder> = nodes
            .iter()
            .map(|node| Holder { node: node.id(), sealing_key: node.registration.sealing_key.clone() })
            .collect();
        let requests = custody::split_deposit(&self.network.id, owner, manifest, key, 1, THRESHOLD, &holders)
            .map_err(|cause| ClientError::machine("split the key")(cause.into()))?;
        let answers = futures::future::join_all(requests.iter().map(|request| self.deposit_one(request))).await;
        let (mut acks, mut silent) = (Vec::new(), Vec::new());
        for (holder, answer) in holders.iter().zip(answers) {
            match answer {
                Ok(ack) => acks.push(ack),
                Err(cause) => silent.push((holder.node, cause)),
            }
        }
        match requests.into_iter().next() {
            Some(request) if silent.is_empty() => Ok(Ok((request.deposit, acks))),
            _ => Ok(Err(silent)),
        }
    }

    async fn deposit_one(&self, request: &DepositRequest) -> Result<Signed<DepositAck>, ClientError> {
        let deposit = request.deposit.unverified();
        let custodian = deposit.custodians[usize::from(request.index) - 1].node;
        let expected = DepositAck { deposit: deposit.digest(), index: request.index, custodian };
        let check = |bytes: Vec<u8>| {
            let ack: Signed<DepositAck> = decode(&bytes)?;
            match ack.verify(&self.network.id) {
                Ok(said) if *said == expected => Ok(ack),
                Ok(_) => Err(Miss::Disbelieved("it acknowledged another deposit".to_owned())),
                Err(cause) => Err(Miss::disbelieve(cause)),
            }
        };
        // The custodian itself if its address is known; the others hand it on.
        let own = self.api_of(&custodian);
        let mut ways = self.nodes.order();
        ways.sort_by_key(|node| Some(node.as_str()) != own);
        let mut misses = Vec::new();
        for node in ways {
            match self.nodes.ask_one(&node, Question::post("/v1/deposits", request.to_bytes())).await.and_then(check) {
                Ok(ack) => return Ok(ack),
                Err(miss) => misses.push((node, miss)),
            }
        }
        Err(conclude(&format!("the custodian {custodian}"), misses))
    }
}

/// Why shares were not taken. Where everybody names a rule, nobody is down: it is what they were given.
fn not_taken(replaced: Vec<Skipped>, mut rules: Vec<(NodeId, String)>) -> ClientError {
    match rules.pop() {
        Some((node, error)) if rules.len() + 1 == replaced.len() => ClientError::DepositRefused { node, error },
        _ => ClientError::SilentCustodians { silent: replaced },
    }
}

#[cfg(test)]
mod tests {
    use model::AccountId;

    use super::*;

    #[test]
    fn custodians_who_name_a_rule_are_not_called_down() {
        let skipped = |node: NodeId, why: &str| Skipped { node: node.to_string(), why: why.to_owned() };
        let (one, other, rule) = (AccountId([1; 32]), AccountId([2; 32]), "the owner has 4 credits");
        let refused = not_taken(
            vec![skipped(one, rule), skipped(other, rule)],
            vec![(one, rule.to_owned()), (other, rule.to_owned())],
        );
        assert!(refused.to_string().ends_with("refuses its share of the key: the owner has 4 credits"), "{refused}");
        assert!(refused.hint().contains("account top-up") && !refused.hint().contains("start the nodes"));
        let silent = not_taken(vec![skipped(one, rule), skipped(other, "no answer")], vec![(one, rule.to_owned())]);
        assert!(silent.hint().contains("start the nodes"), "{silent}");
    }
}

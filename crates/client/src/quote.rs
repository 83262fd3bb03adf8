//! Asking beforehand: would a task be admitted, whose rule binds, what does it cost. Free, and promises nothing.

use ledger::{NetworkFee, state::ObjectState};
use model::{AccountId, Blob, Bytes32, Limits, ObjectId, ObjectKind, Task, Terms};

use crate::{client::Client, error::ClientError, listing::ObjectView, run::Request};

/// What a task would meet.
#[derive(Clone, Debug)]
pub struct Quote {
    /// What stands against it, in the order found; empty if it would be admitted.
    pub obstacles: Vec<Obstacle>,
    /// What each owner asks, program first.
    pub owners: Vec<OwnerPrice>,
    /// What the network asks.
    pub network: NetworkFee,
    /// All together, transaction fees apart.
    pub total: u64,
    /// Most bytes that may leave, and whose rule that is; `None` is the request's own.
    pub output_bytes_max: (u64, Option<ObjectId>),
    /// Most a task may declare on this network.
    pub limits_max: Limits,
    /// Nodes with a fresh verdict.
    pub nodes: usize,
}

/// Terms that bound what may leave a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputBound {
    /// Most bytes that may leave.
    pub bytes: u64,
    /// The object whose terms say so.
    pub object: ObjectId,
}

/// What an owner asks for one use.
#[derive(Clone, Debug)]
pub struct OwnerPrice {
    /// For which object.
    pub object: ObjectId,
    /// Who gets it.
    pub owner: AccountId,
    /// Credits.
    pub price: u64,
}

/// Something that stands against a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Whose rule it is; `None` for the network's.
    pub owner: Option<AccountId>,
    /// What it is.
    pub reason: String,
}

impl Client {
    /// The strictest bound that the terms of these objects put on what may leave a run.
    ///
    /// # Errors
    /// [`ClientError::Unknown`] if one does not exist, and the rest.
    pub async fn output_bound_of_terms(
        &self,
        objects: impl IntoIterator<Item = ObjectId>,
    ) -> Result<Option<OutputBound>, ClientError> {
        let mut bound: Option<OutputBound> = None;
        for object in objects {
            let (view, _) = self.object(&object).await?;
            let Some(bytes) = view.terms.and_then(|terms| terms.unverified().output_bytes_max) else { continue };
            if bound.is_none_or(|bound| bytes < bound.bytes) {
                bound = Some(OutputBound { bytes, object });
            }
        }
        Ok(bound)
    }

    /// Says what `request`, asked for by `requester`, would meet and cost.
    ///
    /// # Errors
    /// [`ClientError::Unknown`] if an object does not exist, and the rest.
    pub async fn quote(&self, requester: AccountId, request: &Request) -> Result<Quote, ClientError> {
        let genesis = self.genesis().await?;
        let task = request.task_of(requester);
        let mut objects = Vec::new();
        for id in task.objects() {
            objects.push(self.object(&id).await?);
        }
        let (head, nodes) = self.nodes().await?;
        let nodes = nodes.iter().filter(|node| node.is_fresh(0)).count();

        let mut obstacles = obstacles_of_network(&request.limits, &genesis.limits.task, nodes);
        let mut owners = Vec::new();
        let mut terms = Vec::new();
        for (position, (view, state)) in objects.iter().enumerate() {
            let Some(signed) = &view.terms else { continue };
            let those = signed.unverified();
            obstacles.extend(obstacles_of_owner(position, view, state, those, &task, head.time_ms()));
            owners.push(OwnerPrice { object: view.id, owner: state.owner, price: those.price });
            terms.push(those);
        }
        let output_bytes_max = output_bound(&request.limits, &terms);
        let price = ledger::quote(genesis, &request.limits, terms)
            .map_err(|refusal| ClientError::Refused { error: refusal.to_string(), hint: refusal.hint().to_owned() })?;
        if price.total > request.price_max {
            let reason = format!("it costs {} credits, more than the {} offered", price.total, request.price_max);
            obstacles.push(Obstacle { owner: None, reason });
        }
        Ok(Quote {
            obstacles,
            owners,
            network: price.network,
            total: price.total,
            output_bytes_max,
            limits_max: genesis.limits.task,
            nodes,
        })
    }
}

impl Request {
    fn task_of(&self, requester: AccountId) -> Task {
        Task {
            requester,
            nonce: 0,
            program: self.program,
            inputs: self.inputs.clone(),
            args: self.args.clone(),
            limits: self.limits,
            metering: self.metering,
            seed: Bytes32([0; 32]),
            result_key: Blob(Vec::new()),
            price_max: self.price_max,
        }
    }
}

/// Most bytes that may leave, and the first of the objects whose terms say so, if they say less than the request.
fn output_bound(limits: &Limits, terms: &[&Terms]) -> (u64, Option<ObjectId>) {
    let bytes = limits.output_bytes_max(terms.iter().copied());
    let binding = terms.iter().find(|terms| bytes < limits.output_bytes && terms.output_bytes_max == Some(bytes));
    (bytes, binding.map(|terms| terms.object))
}

fn obstacles_of_network(limits: &Limits, limits_max: &Limits, nodes: usize) -> Vec<Obstacle> {
    let pairs = [
        ("run time", limits.run_ms, limits_max.run_ms, "ms"),
        ("memory", limits.memory_bytes, limits_max.memory_bytes, "bytes"),
        ("output", limits.output_bytes, limits_max.output_bytes, "bytes"),
    ];
    let mut obstacles: Vec<Obstacle> = pairs
        .into_iter()
        .filter(|(_, asked, allowed, _)| asked > allowed)
        .map(|(what, asked, allowed, unit)| Obstacle {
            owner: None,
            reason: format!("it declares {asked} {unit} of {what}, this network allows {allowed}"),
        })
        .collect();
    if nodes == 0 {
        obstacles.push(Obstacle { owner: None, reason: "no node has a fresh verdict".to_owned() });
    }
    obstacles
}

fn obstacles_of_owner(
    position: usize,
    view: &ObjectView,
    state: &ObjectState,
    terms: &Terms,
    task: &Task,
    time_ms: u64,
) -> Vec<Obstacle> {
    let owner = Some(state.owner);
    let expected = if position == 0 { ObjectKind::Program } else { ObjectKind::Data };
    let mut obstacles = Vec::new();
    if view.kind() != expected {
        let reason = format!("{} is a {} object, where a {expected} object is needed", view.id, view.kind());
        obstacles.push(Obstacle { owner: None, reason });
    }
    if let Err(reason) = terms.admit(task, time_ms) {
        obstacles.push(Obstacle { owner, reason: reason.to_string() });
    }
    if let Some(uses_max) = terms.uses_max.filter(|uses_max| state.uses >= *uses_max) {
        obstacles.push(Obstacle { owner, reason: format!("all {uses_max} uses of {} are spent", view.id) });
    }
    obstacles
}

#[cfg(test)]
mod tests {
    use model::Allow;

    use super::*;

    fn terms(object: u8, output_bytes_max: Option<u64>) -> Terms {
        Terms {
            object: ObjectId::of_manifest(&[object]),
            owner: AccountId([1; 32]),
            serial: 1,
            price: 0,
            requesters: Allow::Any,
            counterparts: Allow::Any,
            uses_max: None,
            expires_ms: None,
            output_bytes_max,
            revoked: false,
        }
    }

    #[test]
    fn the_strictest_bound_holds_and_whose_it_is_is_said() {
        let limits = Limits { run_ms: 1, memory_bytes: 1, output_bytes: 100 };
        let [free, lax, strict, stricter] = [terms(1, None), terms(2, Some(200)), terms(3, Some(9)), terms(4, Some(0))];
        assert_eq!(output_bound(&limits, &[]), (100, None));
        assert_eq!(output_bound(&limits, &[&free, &lax]), (100, None), "the request's own");
        assert_eq!(output_bound(&limits, &[&lax, &strict, &free]), (9, Some(strict.object)));
        for terms in [[&strict, &stricter], [&stricter, &strict]] {
            assert_eq!(output_bound(&limits, &terms), (0, Some(stricter.object)), "whoever comes first");
        }
    }
}

//! How shares must be spread (rule D1): whatever breaks in one piece must not hold enough shares to open an object.

use std::collections::{BTreeMap, BTreeSet};

use model::{CustodyMode, NodeId};

/// Where a node stands: operator and region as two thirds of the validators approved, vendor of its hardware from evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which node.
    pub node: NodeId,
    /// Who runs it.
    pub operator: String,
    /// Who made its attesting hardware.
    pub vendor: String,
    /// Where it is.
    pub region: String,
}

/// Why these nodes must not hold the shares.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpreadError {
    /// The depositor's fault.
    #[error("{threshold} of {holders} is no threshold")]
    Threshold {
        /// Shares needed.
        threshold: usize,
        /// Holders.
        holders: usize,
    },
    /// The network is too small for strict custody: wait for it to grow, or choose a lower n.
    #[error(
        "{holders} holders need a network of {nodes_min} nodes of {operators_min} operators; it has {nodes} of {operators}"
    )]
    NetworkTooSmall {
        /// Holders of the deposit.
        holders: usize,
        /// Nodes there are.
        nodes: usize,
        /// Nodes there must be.
        nodes_min: usize,
        /// Operators there are.
        operators: usize,
        /// Operators there must be.
        operators_min: usize,
    },
    /// The depositor's fault: choose other holders.
    #[error("{shares} of the shares would be with the {kind} '{name}', and {threshold} open the object")]
    Concentrated {
        /// `operator`, `vendor` or `region`.
        kind: &'static str,
        /// Which.
        name: String,
        /// How many shares it would hold.
        shares: usize,
        /// How many open the object.
        threshold: usize,
    },
    /// The depositor's fault.
    #[error("{node} is not a node of this network that may hold a share")]
    UnknownHolder {
        /// Who.
        node: NodeId,
    },
}

/// Checks who is to hold the shares of one object, of which any `threshold` open it. `nodes` are all nodes that might.
///
/// Development networks check the threshold only, and say in every listing that they do. Strict ones demand for n holders
/// 2n + 1 nodes of n operators (2 of 3: 7 of 3; 3 of 5: 11 of 5), and that no operator, vendor or region gets `threshold`
/// shares.
///
/// # Errors
/// [`SpreadError`].
pub fn check_spread(
    mode: CustodyMode,
    threshold: usize,
    holders: &[NodeId],
    nodes: &[Place],
) -> Result<(), SpreadError> {
    if threshold == 0 || threshold > holders.len() {
        return Err(SpreadError::Threshold { threshold, holders: holders.len() });
    }
    if mode == CustodyMode::Development {
        return Ok(());
    }
    check_size(holders.len(), nodes)?;
    let places = holders
        .iter()
        .map(|node| nodes.iter().find(|place| place.node == *node).ok_or(SpreadError::UnknownHolder { node: *node }))
        .collect::<Result<Vec<_>, _>>()?;
    check_apart(threshold, &places)
}

/// Chooses `count` of `nodes` to hold the shares: the first in their order that [`check_spread`] admits together.
///
/// # Errors
/// [`SpreadError`]: what is wrong with the first `count`, if there is no better choice.
pub fn choose_holders(
    mode: CustodyMode,
    threshold: usize,
    count: usize,
    nodes: &[Place],
) -> Result<Vec<NodeId>, SpreadError> {
    let first: Vec<NodeId> = nodes.iter().take(count).map(|place| place.node).collect();
    let refused = match check_spread(mode, threshold, &first, nodes) {
        Ok(()) => return Ok(first),
        Err(refused @ SpreadError::Concentrated { .. }) => refused,
        Err(refused) => return Err(refused),
    };
    let mut chosen = Vec::with_capacity(count);
    if choose_apart(threshold, count, nodes, &mut chosen) {
        Ok(chosen.iter().map(|place| place.node).collect())
    } else {
        Err(refused)
    }
}

/// Adds to `chosen` out of `rest` until there are `count` that are far enough apart; goes back where it must.
fn choose_apart<'a>(threshold: usize, count: usize, rest: &'a [Place], chosen: &mut Vec<&'a Place>) -> bool {
    if chosen.len() == count {
        return true;
    }
    for (at, place) in rest.iter().enumerate() {
        chosen.push(place);
        if check_apart(threshold, chosen).is_ok() && choose_apart(threshold, count, &rest[at + 1..], chosen) {
            return true;
        }
        chosen.pop();
    }
    false
}

/// Whether no operator, vendor or region holds `threshold` of the shares.
fn check_apart(threshold: usize, places: &[&Place]) -> Result<(), SpreadError> {
    let kinds: [(&'static str, fn(&Place) -> &str); 3] =
        [("operator", |place| &place.operator), ("vendor", |place| &place.vendor), ("region", |place| &place.region)];
    for (kind, name_of) in kinds {
        let mut held = BTreeMap::<&str, usize>::new();
        for place in places {
            *held.entry(name_of(place)).or_default() += 1;
        }
        if let Some((name, shares)) = held.into_iter().find(|(_, shares)| *shares >= threshold) {
            return Err(SpreadError::Concentrated { kind, name: name.to_owned(), shares, threshold });
        }
    }
    Ok(())
}

fn check_size(holders: usize, nodes: &[Place]) -> Result<(), SpreadError> {
    let operators = nodes.iter().map(|place| place.operator.as_str()).collect::<BTreeSet<_>>().len();
    let (nodes_min, operators_min) = (2 * holders + 1, holders);
    if nodes.len() >= nodes_min && operators >= operators_min {
        return Ok(());
    }
    Err(SpreadError::NetworkTooSmall { holders, nodes: nodes.len(), nodes_min, operators, operators_min })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        model::AccountId([number; 32])
    }

    /// Nodes that differ in everything, but for the one attribute that `change` overwrites.
    fn network(size: u8, change: impl Fn(u8, &mut Place)) -> Vec<Place> {
        (1..=size)
            .map(|number| {
                let mut place = Place {
                    node: node(number),
                    operator: format!("operator {number}"),
                    vendor: format!("vendor {number}"),
                    region: format!("region {number}"),
                };
                change(number, &mut place);
                place
            })
            .collect()
    }

    fn check(threshold: usize, holders: u8, nodes: &[Place]) -> Result<(), SpreadError> {
        let holders: Vec<_> = (1..=holders).map(node).collect();
        check_spread(CustodyMode::Strict, threshold, &holders, nodes)
    }

    #[test]
    fn strict_custody_needs_a_network_of_its_size() {
        let too_small = |result| matches!(result, Err(SpreadError::NetworkTooSmall { .. }));
        assert_eq!(check(2, 3, &network(7, |_, _| {})), Ok(()));
        assert!(too_small(check(2, 3, &network(6, |_, _| {}))));
        assert_eq!(check(3, 5, &network(11, |_, _| {})), Ok(()));
        assert!(too_small(check(3, 5, &network(10, |_, _| {}))));
        let four_operators = network(11, |number, place| place.operator = format!("operator {}", number % 4));
        assert!(too_small(check(3, 5, &four_operators)));
    }

    #[test]
    fn nobody_may_hold_a_threshold_of_shares() {
        let share_first_two = |overwrite: fn(&mut Place)| {
            network(7, move |number, place| {
                if number <= 2 {
                    overwrite(place);
                }
            })
        };
        let cases: [(&str, fn(&mut Place)); 3] = [
            ("operator", |place| place.operator = "same".into()),
            ("vendor", |place| place.vendor = "same".into()),
            ("region", |place| place.region = "same".into()),
        ];
        for (expected, overwrite) in cases {
            let Err(SpreadError::Concentrated { kind, shares, .. }) = check(2, 3, &share_first_two(overwrite)) else {
                panic!("{expected} was not refused");
            };
            assert_eq!((kind, shares), (expected, 2));
            assert_eq!(check(3, 3, &share_first_two(overwrite)), Ok(()), "two shares are too few for three of three");
        }
    }

    #[test]
    fn holders_are_chosen_apart_wherever_that_is_possible() {
        let choose = |nodes: &[Place]| choose_holders(CustodyMode::Strict, 2, 3, nodes);
        assert_eq!(choose(&network(7, |_, _| {})), Ok(vec![node(1), node(2), node(3)]));
        // Two makers are too few; with a third, its only node must be among the holders.
        let two = network(7, |number, place| place.vendor = format!("vendor {}", number % 2));
        assert!(matches!(choose(&two), Err(SpreadError::Concentrated { kind: "vendor", .. })));
        let three = network(7, |number, place| {
            place.vendor = if number == 7 { "rare".into() } else { format!("vendor {}", number % 2) };
        });
        assert_eq!(choose(&three), Ok(vec![node(1), node(2), node(7)]));
        // The first choice of operator leaves no choice of region: it is taken back.
        let trap = network(7, |number, place| {
            place.operator = format!("operator {}", [1, 2, 2, 3, 3, 2, 3][usize::from(number) - 1]);
            place.region = format!("region {}", [1, 1, 1, 2, 2, 2, 3][usize::from(number) - 1]);
        });
        assert_eq!(choose(&trap), Ok(vec![node(1), node(6), node(7)]));
        // Development networks take whom they get, and say so.
        let same = network(4, |_, place| place.operator = "same".into());
        assert!(choose_holders(CustodyMode::Development, 2, 3, &same).is_ok());
        assert!(matches!(choose(&same), Err(SpreadError::NetworkTooSmall { .. })));
    }

    #[test]
    fn holders_outside_the_network_and_impossible_thresholds_are_refused() {
        let nodes = network(7, |_, _| {});
        assert_eq!(
            check_spread(CustodyMode::Strict, 1, &[node(99)], &nodes),
            Err(SpreadError::UnknownHolder { node: node(99) })
        );
        for threshold in [0, 4] {
            assert!(matches!(check(threshold, 3, &nodes), Err(SpreadError::Threshold { .. })));
        }
    }

    #[test]
    fn development_checks_the_threshold_only() {
        let holders = [node(1), node(2), node(3)];
        assert_eq!(check_spread(CustodyMode::Development, 2, &holders, &[]), Ok(()));
        assert!(check_spread(CustodyMode::Development, 4, &holders, &[]).is_err());
    }
}

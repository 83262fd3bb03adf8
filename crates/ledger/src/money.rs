//! Credits: balances, fees, prices. Integers, checked; the sum over all accounts never changes.

use model::{AccountId, FeeSchedule, Genesis, Limits, Terms};

use crate::{
    Refusal, key,
    state::AccountState,
    view::{Halt, View},
};

/// The network's part of a task's price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkFee {
    /// To the executor, by declared limits.
    pub executor: u64,
    /// Shared among the custodians who released, for each object.
    pub custodians_per_object: u64,
    /// How many objects that is.
    pub objects: u64,
    /// To each of `copies` nodes that store the result.
    pub storage_per_copy: u64,
    /// How many copies that is.
    pub copies: u64,
    /// Shared among all validators.
    pub validators: u64,
}

impl NetworkFee {
    /// All of it; `None` if it does not fit.
    pub fn total(&self) -> Option<u64> {
        self.executor
            .checked_add(self.custodians_per_object.checked_mul(self.objects)?)?
            .checked_add(self.storage_per_copy.checked_mul(self.copies)?)?
            .checked_add(self.validators)
    }
}

/// What a task costs, transaction fees apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// For each object's owner, in the order of [`model::Task::objects`].
    pub owners: Vec<u64>,
    /// For the network.
    pub network: NetworkFee,
    /// All together.
    pub total: u64,
}

/// The price of a task that declares `limits` and uses objects under `terms` (program first, then inputs).
///
/// # Errors
/// [`Refusal::Overflow`] if it does not fit 64 bits.
pub fn quote<'a>(
    genesis: &Genesis,
    limits: &Limits,
    terms: impl IntoIterator<Item = &'a Terms>,
) -> Result<Price, Refusal> {
    let owners: Vec<u64> = terms.into_iter().map(|terms| terms.price).collect();
    let overflow = || Refusal::Overflow { what: "the price of the task" };
    let network = network_fee(genesis, limits, owners.len() as u64).ok_or_else(overflow)?;
    let total = owners.iter().try_fold(network.total().ok_or_else(overflow)?, |sum, price| sum.checked_add(*price));
    Ok(Price { owners, network, total: total.ok_or_else(overflow)? })
}

/// The network fee of a task with these limits that uses `objects` objects; `None` if it does not fit.
pub(crate) fn network_fee(genesis: &Genesis, limits: &Limits, objects: u64) -> Option<NetworkFee> {
    const MIB_64: u64 = 64 << 20;
    let fees = &genesis.fees;
    let executor = fees
        .executor
        .checked_add(fees.executor_second.checked_mul(limits.run_ms.div_ceil(1000))?)?
        .checked_add(fees.executor_64mib.checked_mul(limits.memory_bytes.div_ceil(MIB_64))?)?;
    Some(NetworkFee {
        executor,
        custodians_per_object: fees.custodians,
        objects,
        storage_per_copy: fees.storage,
        copies: u64::from(genesis.limits.copies),
        validators: fees.validators,
    })
}

/// The fee of a transaction of `bytes` bytes: flat, and for each started KiB.
///
/// # Errors
/// [`Refusal::Overflow`] if it does not fit 64 bits.
pub fn transaction_fee(fees: &FeeSchedule, bytes: usize) -> Result<u64, Refusal> {
    let kib = (bytes as u64).div_ceil(1024);
    let by_size = fees.transaction_kib.checked_mul(kib);
    let fee = by_size.and_then(|by_size| by_size.checked_add(fees.transaction));
    fee.ok_or(Refusal::Overflow { what: "the transaction fee" })
}

/// The account, or an empty one.
pub(crate) fn account(view: &mut View, id: &AccountId) -> Result<AccountState, Halt> {
    Ok(view.get(&key::account(id))?.unwrap_or_default())
}

/// Moves credits. Moving nothing touches nothing.
pub(crate) fn move_credits(view: &mut View, from: &AccountId, to: &AccountId, amount: u64) -> Result<(), Halt> {
    if amount == 0 || from == to {
        return Ok(());
    }
    let mut source = account(view, from)?;
    let mut target = account(view, to)?;
    source.balance = source.balance.checked_sub(amount).ok_or(Refusal::Balance {
        account: *from,
        available: source.balance,
        needed: amount,
    })?;
    target.balance = target.balance.checked_add(amount).ok_or(Refusal::Overflow { what: "the balance" })?;
    view.put(key::account(from), &source);
    view.put(key::account(to), &target);
    Ok(())
}

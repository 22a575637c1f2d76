//! Tenants, their queues and their virtual token counters. The tenant that was served least is next.

use std::collections::{BTreeMap, BTreeSet};

use super::{RequestId, Tenant};

/// Idle tenants that are remembered, so that pausing does not reset a tenant's counter.
const IDLE_MAX: usize = 4096;

#[derive(Debug, Default)]
struct Account {
    /// Weighted tokens computed so far: the virtual token counter.
    served: u64,
    cold: BTreeMap<u64, RequestId>,
    ready: BTreeMap<u64, RequestId>,
    running: usize,
}

impl Account {
    fn idle(&self) -> bool {
        self.cold.is_empty() && self.ready.is_empty() && self.running == 0
    }
}

#[derive(Debug, Default)]
pub(super) struct Tenants {
    accounts: BTreeMap<Tenant, Account>,
    active: BTreeSet<Tenant>,
    cold: usize,
    ready: usize,
}

impl Tenants {
    pub(super) fn cold(&self) -> usize {
        self.cold
    }

    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    pub(super) fn waiting(&self, tenant: &Tenant) -> usize {
        let account = self.accounts.get(tenant);
        account.map_or(0, |account| account.cold.len() + account.ready.len())
    }

    pub(super) fn running(&self, tenant: &Tenant) -> usize {
        self.accounts.get(tenant).map_or(0, |account| account.running)
    }

    /// Number of tenants with waiting or running requests.
    pub(super) fn active(&self) -> usize {
        self.active.len()
    }

    /// Active tenants, the least served first.
    pub(super) fn least_served_first(&self) -> Vec<Tenant> {
        let mut active: Vec<(u64, &Tenant)> = self
            .active
            .iter()
            .map(|tenant| (self.accounts[tenant].served, tenant))
            .collect();
        active.sort_unstable();
        active.into_iter().map(|(_, tenant)| tenant.clone()).collect()
    }

    /// Cold requests: the first of each tenant, then the second of each, the least served tenant first.
    pub(super) fn cold_least_served_first(&self) -> Vec<RequestId> {
        let mut all: Vec<(usize, usize, RequestId)> = Vec::with_capacity(self.cold);
        for (turn, tenant) in self.least_served_first().iter().enumerate() {
            let cold = self.accounts[tenant].cold.values().enumerate();
            all.extend(cold.map(|(place, request)| (place, turn, *request)));
        }
        all.sort_unstable();
        all.into_iter().map(|(.., request)| request).collect()
    }

    pub(super) fn served(&self, tenant: &Tenant) -> u64 {
        self.accounts[tenant].served
    }

    pub(super) fn charge(&mut self, tenant: &Tenant, tokens: u64) {
        self.account(tenant).served += tokens;
    }

    /// The first ready request of a tenant that arrived after `order`.
    pub(super) fn ready_after(&self, tenant: &Tenant, order: Option<u64>) -> Option<(u64, RequestId)> {
        let from = order.map_or(0, |order| order + 1);
        let (order, request) = self.accounts.get(tenant)?.ready.range(from..).next()?;
        Some((*order, *request))
    }

    pub(super) fn enqueue(&mut self, tenant: &Tenant, order: u64, request: RequestId, ready: bool) {
        self.activate(tenant);
        match ready {
            true => {
                self.ready += 1;
                self.account(tenant).ready.insert(order, request);
            }
            false => {
                self.cold += 1;
                self.account(tenant).cold.insert(order, request);
            }
        }
    }

    pub(super) fn dequeue(&mut self, tenant: &Tenant, order: u64) {
        let account = self.account(tenant);
        let (cold, ready) = (account.cold.remove(&order), account.ready.remove(&order));
        self.cold -= usize::from(cold.is_some());
        self.ready -= usize::from(ready.is_some());
        self.deactivate_if_idle(tenant);
    }

    pub(super) fn mark_ready(&mut self, tenant: &Tenant, order: u64) {
        let account = self.account(tenant);
        let request = account.cold.remove(&order).expect("only the cold get warm");
        account.ready.insert(order, request);
        self.cold -= 1;
        self.ready += 1;
    }

    pub(super) fn mark_cold(&mut self, tenant: &Tenant, order: u64) {
        let account = self.account(tenant);
        let request = account.ready.remove(&order).expect("only the ready get cold");
        account.cold.insert(order, request);
        self.ready -= 1;
        self.cold += 1;
    }

    pub(super) fn start(&mut self, tenant: &Tenant) {
        self.activate(tenant);
        self.account(tenant).running += 1;
    }

    pub(super) fn stop(&mut self, tenant: &Tenant) {
        self.account(tenant).running -= 1;
        self.deactivate_if_idle(tenant);
    }

    fn account(&mut self, tenant: &Tenant) -> &mut Account {
        self.accounts
            .get_mut(tenant)
            .expect("a tenant that asked has an account")
    }

    /// A tenant that becomes active starts at the counter of the least served active one: idling earns no credit.
    fn activate(&mut self, tenant: &Tenant) {
        if self.active.contains(tenant) {
            return;
        }
        let least = self.active.iter().map(|tenant| self.accounts[tenant].served).min();
        let account = self.accounts.entry(tenant.clone()).or_default();
        account.served = account.served.max(least.unwrap_or(0));
        self.active.insert(tenant.clone());
    }

    fn deactivate_if_idle(&mut self, tenant: &Tenant) {
        if !self.account(tenant).idle() {
            return;
        }
        self.active.remove(tenant);
        if self.accounts.len() - self.active.len() > IDLE_MAX {
            // A tenant below the least counter would be lifted to it on return, so forgetting it changes nothing.
            let least = self.active.iter().map(|tenant| self.accounts[tenant].served).min();
            let least = least.unwrap_or(u64::MAX);
            let before = self.accounts.len();
            self.accounts
                .retain(|_, account| !account.idle() || account.served > least);
            if self.accounts.len() == before {
                self.accounts.retain(|_, account| !account.idle());
            }
        }
    }
}

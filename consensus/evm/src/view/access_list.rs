//! The accounts and slots that a call would touch, as an EIP-2930 list (`eth_createAccessList`).

use alloy_eips::eip2930::AccessList;
use alloy_evm::Evm;
use revm_inspectors::access_list::AccessListInspector;

use super::{
    At, CallError, CallOutcome, CallRequest, GAS_CAP, Overrides, View,
    overrides::override_state,
    stage::{player, stage},
};
use crate::state::Kv;

/// How often a list may make the call touch more. A contract can look at its gas and never settle.
const ROUNDS_MAX: usize = 16;

/// An access list, and how the call went with it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What it touches; not its sender, its target and precompiles, which are free anyway.
    pub list: AccessList,
    /// How it went.
    pub outcome: CallOutcome,
}

impl<K: Kv> View<K> {
    /// Makes a call again and again until its access list does not change any more.
    pub fn access_list(&self, request: &CallRequest, at: At, overrides: &Overrides) -> Result<Listed, CallError> {
        let (header, db) = self.database(at)?;
        let env = self.environment(request, &header, overrides)?;
        let mut stage = stage(&self.spec, db);
        let first = AccessListInspector::new(request.access_list.clone());
        let mut player = player(&mut stage, env, first);
        override_state(&mut player, &overrides.state)?;
        let mut request = request.clone();
        let gas = request.gas.unwrap_or(GAS_CAP).min(GAS_CAP);
        for round in 1.. {
            let transaction = request.transaction(self.spec.chain_id, gas)?;
            let done = player.transact_raw(transaction).map_err(CallError::from)?;
            let list = player.inspector_mut().access_list();
            if list == request.access_list || round == ROUNDS_MAX {
                return Ok(Listed {
                    list,
                    outcome: CallOutcome::from(done.result),
                });
            }
            *player.inspector_mut() = AccessListInspector::new(list.clone());
            request.access_list = list;
        }
        unreachable!("the last round returns")
    }
}

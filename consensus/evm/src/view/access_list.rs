//! The accounts and slots that a call touches, as an EIP-2930 access list (`eth_createAccessList`).

use alloy_eips::eip2930::AccessList;
use alloy_evm::Evm;
use revm_inspectors::access_list::AccessListInspector;

use super::{
    At, CallError, CallOutcome, CallRequest, GAS_CAP, Overrides, View,
    overrides::override_state,
    sandbox::{sandbox, sandbox_evm},
};
use crate::state::Kv;

/// Most runs of a call. A contract can depend on its gas so that the list never settles.
const ROUNDS_MAX: usize = 16;

/// An access list, and the result of the call with it.
#[derive(Clone, Debug)]
pub struct AccessListOutcome {
    /// Without sender, target and precompiles, which are warm anyway.
    pub list: AccessList,
    pub outcome: CallOutcome,
}

impl<K: Kv> View<K> {
    /// Runs a call repeatedly until its access list no longer changes.
    pub fn access_list(
        &self,
        request: &CallRequest,
        at: At,
        overrides: &Overrides,
    ) -> Result<AccessListOutcome, CallError> {
        let (header, db) = self.database(at)?;
        let env = self.environment(request, &header, overrides)?;
        let mut sandbox = sandbox(&self.spec, db);
        let first = AccessListInspector::new(request.access_list.clone());
        let mut evm = sandbox_evm(&mut sandbox, env, first);
        override_state(&mut evm, &overrides.state)?;
        let mut request = request.clone();
        let gas = request.gas.unwrap_or(GAS_CAP).min(GAS_CAP);
        for round in 1.. {
            let transaction = request.transaction(self.spec.chain_id, gas)?;
            let done = evm.transact_raw(transaction).map_err(CallError::from)?;
            let list = evm.inspector_mut().access_list();
            if list == request.access_list || round == ROUNDS_MAX {
                return Ok(AccessListOutcome {
                    list,
                    outcome: CallOutcome::from(done.result),
                });
            }
            *evm.inspector_mut() = AccessListInspector::new(list.clone());
            request.access_list = list;
        }
        unreachable!("the last round returns")
    }
}

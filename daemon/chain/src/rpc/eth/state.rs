//! `eth_`: the chain's id and height, accounts, code, storage and proofs of them.

use std::collections::BTreeMap;

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof, SyncInfo, SyncStatus};
use alloy_serde::JsonStorageKey;
use evm::view::ViewError;
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use protocol::Account;

use crate::rpc::{Rpc, Shown, failure::Failure, param::Hex};

/// Slots that one proof may cover.
const PROOF_SLOTS_MAX: usize = 1024;
/// Slots that one question may cover.
const VALUES_MAX: usize = 1024;
/// What other clients answer where a limit is exceeded.
const LIMIT_CODE: i32 = -38026;
/// A tip this far below what peers claim is how it always is: they told us a moment ago.
const BEHIND: u64 = 2;

/// Methods of `eth_` about state.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthState {
    /// EIP-155: what transactions are signed for.
    #[method(name = "chainId")]
    fn chain_id(&self) -> Result<U64, Failure>;

    /// The height of the last block.
    #[method(name = "blockNumber")]
    fn block_number(&self) -> Result<U64, Failure>;

    /// Whether it is catching up, and how far it is.
    #[method(name = "syncing")]
    async fn syncing(&self) -> Result<SyncStatus, Failure>;

    /// Accounts that this node signs for: none, keys are a wallet's business.
    #[method(name = "accounts")]
    fn accounts(&self) -> Vec<Address>;

    /// What an account holds.
    #[method(name = "getBalance")]
    async fn balance(&self, address: Hex<Address>, block: Option<BlockId>) -> Result<U256, Failure>;

    /// The nonce of its next transaction; at `pending` behind those that wait.
    #[method(name = "getTransactionCount")]
    async fn transaction_count(&self, address: Hex<Address>, block: Option<BlockId>) -> Result<U64, Failure>;

    /// Its code.
    #[method(name = "getCode")]
    async fn code(&self, address: Hex<Address>, block: Option<BlockId>) -> Result<Bytes, Failure>;

    /// One of its slots.
    #[method(name = "getStorageAt")]
    async fn storage_at(&self, address: Hex<Address>, slot: String, block: Option<BlockId>) -> Result<B256, Failure>;

    /// Slots of several accounts at once.
    #[method(name = "getStorageValues")]
    async fn storage_values(
        &self,
        slots: BTreeMap<Address, Vec<B256>>,
        block: Option<BlockId>,
    ) -> Result<BTreeMap<Address, Vec<B256>>, Failure>;

    /// EIP-1186: a proof of an account and some of its slots.
    #[method(name = "getProof")]
    async fn proof(
        &self,
        address: Hex<Address>,
        slots: Vec<String>,
        block: Option<BlockId>,
    ) -> Result<EIP1186AccountProofResponse, Failure>;
}

#[async_trait]
impl EthStateServer for Rpc {
    fn chain_id(&self) -> Result<U64, Failure> {
        Ok(U64::from(self.head().view.spec().chain_id))
    }

    fn block_number(&self) -> Result<U64, Failure> {
        Ok(U64::from(self.head().height.0))
    }

    async fn syncing(&self) -> Result<SyncStatus, Failure> {
        let best = self.ground.best_known().await?;
        let height = self.head().height;
        if best.0 <= height.0 + BEHIND {
            return Ok(SyncStatus::None);
        }
        Ok(SyncStatus::Info(Box::new(SyncInfo {
            starting_block: U256::from(self.started_at),
            current_block: U256::from(height.0),
            highest_block: U256::from(best.0),
            ..SyncInfo::default()
        })))
    }

    fn accounts(&self) -> Vec<Address> {
        Vec::new()
    }

    async fn balance(&self, Hex(address): Hex<Address>, block: Option<BlockId>) -> Result<U256, Failure> {
        self.read(move |shown| Ok(shown.view.account(&address, shown.at(block)?)?.balance))
            .await
    }

    async fn transaction_count(&self, Hex(address): Hex<Address>, block: Option<BlockId>) -> Result<U64, Failure> {
        let account = Account(address.0.0);
        let waiting = if block == Some(BlockId::Number(BlockNumberOrTag::Pending)) {
            self.ground.next_nonce(account).await?
        } else {
            None
        };
        let nonce = self
            .read(move |shown| Ok(shown.view.account(&address, shown.at(block)?)?.nonce))
            .await?;
        Ok(U64::from(waiting.map_or(nonce, |waiting| waiting.max(nonce))))
    }

    async fn code(&self, Hex(address): Hex<Address>, block: Option<BlockId>) -> Result<Bytes, Failure> {
        self.read(move |shown| Ok(shown.view.code(&address, shown.at(block)?)?))
            .await
    }

    async fn storage_at(
        &self,
        Hex(address): Hex<Address>,
        slot: String,
        block: Option<BlockId>,
    ) -> Result<B256, Failure> {
        let slot = U256::from_be_bytes(storage_key(&slot)?.as_b256().0);
        self.read(move |shown| Ok(shown.view.storage(&address, slot, shown.at(block)?)?.into()))
            .await
    }

    async fn storage_values(
        &self,
        slots: BTreeMap<Address, Vec<B256>>,
        block: Option<BlockId>,
    ) -> Result<BTreeMap<Address, Vec<B256>>, Failure> {
        match slots.values().map(Vec::len).sum::<usize>() {
            0 => return Err(Failure::params("empty request")),
            1..=VALUES_MAX => (),
            asked => {
                return Err(Failure::Coded {
                    code: LIMIT_CODE,
                    text: format!("too many slots: {asked}, the limit is {VALUES_MAX}"),
                });
            }
        }
        let look = move |shown: &Shown| {
            let state = shown.view.state(shown.at(block)?)?;
            let value = |address: &Address, slot: &B256| {
                let value = state.storage(address, (*slot).into()).map_err(ViewError::from)?;
                Ok::<_, Failure>(B256::from(value))
            };
            let mut found = BTreeMap::new();
            for (address, slots) in slots {
                let values = slots.iter().map(|slot| value(&address, slot));
                found.insert(address, values.collect::<Result<_, _>>()?);
            }
            Ok(found)
        };
        self.read(look).await
    }

    async fn proof(
        &self,
        Hex(address): Hex<Address>,
        slots: Vec<String>,
        block: Option<BlockId>,
    ) -> Result<EIP1186AccountProofResponse, Failure> {
        if slots.len() > PROOF_SLOTS_MAX {
            return Err(Failure::params(format!(
                "too many storage keys: {}, the limit is {PROOF_SLOTS_MAX}",
                slots.len()
            )));
        }
        let keys: Vec<_> = slots.iter().map(|slot| storage_key(slot)).collect::<Result<_, _>>()?;
        let slots: Vec<_> = keys.iter().map(|key| U256::from_be_bytes(key.as_b256().0)).collect();
        let proof = self
            .work(move |shown| Ok(shown.view.proof(&address, &slots, shown.at(block)?)?))
            .await?;
        let account = proof.account.unwrap_or_default();
        let slot = |(key, found): (JsonStorageKey, evm::state::SlotProof)| EIP1186StorageProof {
            key,
            value: found.value,
            proof: found.proof,
        };
        Ok(EIP1186AccountProofResponse {
            address,
            balance: account.balance,
            code_hash: account.code_hash,
            nonce: account.nonce,
            storage_hash: account.storage_root,
            account_proof: proof.proof,
            storage_proof: keys.into_iter().zip(proof.slots).map(slot).collect(),
        })
    }
}

/// Reads a storage key of at most 32 bytes. One that was given in full is later shown in full.
fn storage_key(text: &str) -> Result<JsonStorageKey, Failure> {
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text);
    if digits.len() > 64 {
        return Err(Failure::params(format!(
            "storage key too long (want at most 32 bytes): {text:?}"
        )));
    }
    let whole = format!("{digits:0>64}");
    let bytes = hex::decode(&whole).map_err(|_| Failure::params(format!("invalid hex in storage key: {text:?}")))?;
    let key = B256::from_slice(&bytes);
    Ok(if digits.len() == 64 {
        JsonStorageKey::Hash(key)
    } else {
        JsonStorageKey::Number(key.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storage_key_is_shown_as_it_was_given() {
        let check = |text: &str, expect: &str| {
            let key = storage_key(text).map(|key| serde_json::to_string(&key).unwrap());
            assert_eq!(key, Ok(format!("{expect:?}")), "{text}");
        };
        check("0x00", "0x0");
        check("0x", "0x0");
        check("0x1f", "0x1f");
        check("abc", "0xabc");
        let full = format!("0x{:0>64}", "1");
        check(&full, &full);
    }

    #[test]
    fn a_storage_key_that_is_none_says_why() {
        let long = format!("0x{}", "0".repeat(65));
        assert_eq!(
            storage_key(&long),
            Err(Failure::Params(format!(
                "storage key too long (want at most 32 bytes): {long:?}"
            )))
        );
        assert_eq!(
            storage_key("0xasdf"),
            Err(Failure::Params("invalid hex in storage key: \"0xasdf\"".into()))
        );
    }
}

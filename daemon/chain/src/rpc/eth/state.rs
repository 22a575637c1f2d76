//! `eth_`: chain id, height, accounts, code, storage, and proofs.

use std::collections::BTreeMap;

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof, SyncInfo, SyncStatus};
use alloy_serde::JsonStorageKey;
use evm::view::ViewError;
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use protocol::Account;

use crate::rpc::{Rpc, Snapshot, failure::Failure, param::Hex};

/// Most slots of one proof.
const PROOF_SLOTS_MAX: usize = 1024;
/// Most slots of one request for storage values.
const VALUES_MAX: usize = 1024;
/// The code that other clients use for an exceeded limit.
const LIMIT_CODE: i32 = -38026;
/// A difference to the highest claimed tip that is normal, since claims arrive a moment before blocks.
const BEHIND: u64 = 2;

/// Methods of `eth_` for state.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthState {
    /// The chain id that transactions are signed for (EIP-155).
    #[method(name = "chainId")]
    fn chain_id(&self) -> Result<U64, Failure>;

    /// The height of the last block.
    #[method(name = "blockNumber")]
    fn block_number(&self) -> Result<U64, Failure>;

    /// The progress of block sync; false if the node is not behind.
    #[method(name = "syncing")]
    async fn syncing(&self) -> Result<SyncStatus, Failure>;

    /// Accounts that this node signs for. Always empty: keys belong in wallets.
    #[method(name = "accounts")]
    fn accounts(&self) -> Vec<Address>;

    /// The balance of an account.
    #[method(name = "getBalance")]
    async fn balance(&self, address: Hex<Address>, block: Option<BlockId>) -> Result<U256, Failure>;

    /// The nonce of an account's next transaction. At `pending`, after its transactions in the mempool.
    #[method(name = "getTransactionCount")]
    async fn transaction_count(&self, address: Hex<Address>, block: Option<BlockId>) -> Result<U64, Failure>;

    /// The code of an account.
    #[method(name = "getCode")]
    async fn code(&self, address: Hex<Address>, block: Option<BlockId>) -> Result<Bytes, Failure>;

    /// The value of a slot.
    #[method(name = "getStorageAt")]
    async fn storage_at(&self, address: Hex<Address>, slot: String, block: Option<BlockId>) -> Result<B256, Failure>;

    /// Values of slots of several accounts.
    #[method(name = "getStorageValues")]
    async fn storage_values(
        &self,
        slots: BTreeMap<Address, Vec<B256>>,
        block: Option<BlockId>,
    ) -> Result<BTreeMap<Address, Vec<B256>>, Failure>;

    /// A proof of an account and some of its slots (EIP-1186).
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
        let best = self.backend.best_known().await?;
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
        self.read(move |snapshot| Ok(snapshot.view.account(&address, snapshot.at(block)?)?.balance))
            .await
    }

    async fn transaction_count(&self, Hex(address): Hex<Address>, block: Option<BlockId>) -> Result<U64, Failure> {
        let account = Account(address.0.0);
        let waiting = if block == Some(BlockId::Number(BlockNumberOrTag::Pending)) {
            self.backend.next_nonce(account).await?
        } else {
            None
        };
        let nonce = self
            .read(move |snapshot| Ok(snapshot.view.account(&address, snapshot.at(block)?)?.nonce))
            .await?;
        Ok(U64::from(waiting.map_or(nonce, |waiting| waiting.max(nonce))))
    }

    async fn code(&self, Hex(address): Hex<Address>, block: Option<BlockId>) -> Result<Bytes, Failure> {
        self.read(move |snapshot| Ok(snapshot.view.code(&address, snapshot.at(block)?)?))
            .await
    }

    async fn storage_at(
        &self,
        Hex(address): Hex<Address>,
        slot: String,
        block: Option<BlockId>,
    ) -> Result<B256, Failure> {
        let slot = U256::from_be_bytes(storage_key(&slot)?.as_b256().0);
        self.read(move |snapshot| Ok(snapshot.view.storage(&address, slot, snapshot.at(block)?)?.into()))
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
        let look = move |snapshot: &Snapshot| {
            let state = snapshot.view.state(snapshot.at(block)?)?;
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
            .work(move |snapshot| Ok(snapshot.view.proof(&address, &slots, snapshot.at(block)?)?))
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

/// Reads a storage key of at most 32 bytes. A key in full length is returned in full length.
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
    fn a_storage_key_is_returned_in_the_form_it_was_given() {
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
    fn an_invalid_storage_key_has_an_error_text() {
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

//! `openledger chain prove ADDRESS [SLOT…]`: writes a light proof of an account, which anybody can check without a node.
//!
//! [`evm::light`] describes the format. The proof is made at the last final block. This command does not check it;
//! `openledger chain verify` does.

use std::{fs, path::PathBuf};

use alloy_primitives::{Address, B256, U256, hex};
use alloy_rpc_types_eth::EIP1186AccountProofResponse;
use anyhow::{Context as _, ensure};
use clap::Args;
use evm::light::{FORMAT, LightProof, ProvenAccount, ProvenSlot, Signatures};
use protocol::crypto::Signature;
use serde_json::json;

use crate::cli::{
    Globals,
    exit::{Exit, ended},
    globals::wait,
    output,
    running::Running,
};
use chain::rpc::Certified;

/// Attempts: a state that is pruned between two requests is requested again at a newer block.
const TRIES: usize = 3;

/// Write a proof of an account that anybody can check without a node
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger chain prove 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266 --out proof.json\n\
                  Example: openledger chain prove 0x5FbDB2315678afecb367f032d93F642f64180aa3 0x0 0x1\n\n\
                  JSON: {file, bytes, number, hash} with --out, else the proof itself"
)]
pub(crate) struct Prove {
    /// Account whose state to prove
    address: Address,
    /// Storage slots to prove, in hexadecimal, at most 32 bytes each
    #[arg(value_name = "SLOT", value_parser = slot)]
    slots: Vec<B256>,
    /// Write the proof to this file instead of to stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn slot(text: &str) -> Result<B256, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let wrong = || format!("`{text}` is not a storage slot; write 0x and 1 to 64 hexadecimal digits");
    if digits.is_empty() || digits.len() > 64 {
        return Err(wrong());
    }
    let bytes = hex::decode(format!("{digits:0>64}")).map_err(|_| wrong())?;
    Ok(B256::from_slice(&bytes))
}

impl Prove {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let (running, genesis) = (globals.running()?, globals.genesis()?);
        let chain_id = genesis.spec.chain_id;
        let (proof, at) = wait(request(
            &running,
            self.address,
            &self.slots,
            chain_id,
            B256::from(genesis.hash.0),
        ))?;
        let file = serde_json::to_string(&proof).expect("a proof is plain data") + "\n";
        let Some(path) = &self.out else {
            output::raw(file.as_bytes());
            return Ok(Exit::Done);
        };
        fs::write(path, &file).with_context(|| format!("could not write {}", path.display()))?;
        let about = json!({ "file": path, "bytes": file.len(), "number": at.number, "hash": at.hash });
        globals.show(&about, || {
            let (path, bytes) = (path.display(), file.len());
            format!("{path}: {bytes} bytes, at block {} {}", at.number, at.hash)
        });
        Ok(Exit::Done)
    }
}

struct At {
    number: u64,
    hash: B256,
}

async fn request(
    running: &Running,
    address: Address,
    slots: &[B256],
    chain_id: u64,
    genesis: B256,
) -> anyhow::Result<(LightProof, At)> {
    let mut last = None;
    for _ in 0..TRIES {
        let certified: Option<Certified> = running.call("openledger_getCertificate", json!(["latest"])).await?;
        let certified = certified.ok_or_else(|| {
            ended(
                Exit::NotFound,
                "the node has no final block with a certificate yet; try again after the first block",
            )
        })?;
        match running
            .call("eth_getProof", json!([address, slots, certified.number]))
            .await
        {
            Ok(state) => {
                let at = At {
                    number: certified.number.to(),
                    hash: certified.hash,
                };
                return Ok((join(certified, state, slots, chain_id, genesis)?, at));
            }
            Err(why) => last = Some(why),
        }
    }
    Err(last.expect("it was tried"))
}

fn join(
    certified: Certified,
    state: EIP1186AccountProofResponse,
    slots: &[B256],
    chain_id: u64,
    genesis: B256,
) -> anyhow::Result<LightProof> {
    ensure!(
        state.storage_proof.len() == slots.len(),
        "the node proved other slots than those requested; restart the daemon with this version"
    );
    let sign = |one: &chain::rpc::CommitSignature| {
        let bytes = one.signature[..]
            .try_into()
            .context("the node sent a malformed signature")?;
        Ok((one.validator, Signature(bytes)))
    };
    let proven = |(slot, found): (&B256, alloy_rpc_types_eth::EIP1186StorageProof)| ProvenSlot {
        slot: *slot,
        value: U256::from(found.value),
        proof: found.proof,
    };
    Ok(LightProof {
        format: FORMAT.to_owned(),
        chain_id,
        genesis,
        header: certified.header,
        certificate: Signatures {
            round: certified.round.to(),
            signatures: certified.signatures.iter().map(sign).collect::<anyhow::Result<_>>()?,
        },
        account: ProvenAccount {
            address: state.address,
            nonce: state.nonce,
            balance: state.balance,
            storage_root: state.storage_hash,
            code_hash: state.code_hash,
            proof: state.account_proof,
            slots: slots.iter().zip(state.storage_proof).map(proven).collect(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_a_number_of_at_most_32_bytes() {
        assert_eq!(slot("0x0"), Ok(B256::ZERO));
        assert_eq!(slot("0x10"), Ok(B256::with_last_byte(16)));
        assert_eq!(slot(&B256::repeat_byte(7).to_string()), Ok(B256::repeat_byte(7)));
        for text in ["", "0x", "0xg", &"0".repeat(65)] {
            assert!(slot(text).unwrap_err().contains("hexadecimal"), "{text}");
        }
    }
}

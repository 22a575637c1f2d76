//! `openledger_`: what this chain has and Ethereum's methods have no place for.

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{B256, Bytes, U64};
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use protocol::{Height, ValidatorKey};
use serde::{Deserialize, Serialize};

use super::{Rpc, failure::Failure};

/// A block's header and what made the block final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certified {
    /// Its height.
    pub number: U64,
    /// Its name.
    pub hash: B256,
    /// The RLP of its header.
    pub header: Bytes,
    /// The round that decided.
    pub round: U64,
    /// Who signed, in the order of their keys.
    pub signatures: Vec<CommitSignature>,
}

/// One precommit for a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitSignature {
    /// Whose.
    pub validator: ValidatorKey,
    /// 64 bytes, under ZIP-215.
    pub signature: Bytes,
}

/// Methods under `openledger_`.
#[rpc(server, namespace = "openledger")]
pub trait Openledger {
    /// The commit certificate of a block; null for block 0, above the tip, and where blocks are not this chain's own.
    #[method(name = "getCertificate")]
    async fn certificate(&self, number: BlockNumberOrTag) -> Result<Option<Certified>, Failure>;
}

#[async_trait]
impl OpenledgerServer for Rpc {
    async fn certificate(&self, number: BlockNumberOrTag) -> Result<Option<Certified>, Failure> {
        let log = self.ground.log();
        let find = move |shown: &super::Shown| {
            let height = shown.number(number);
            if height > shown.height.0 {
                return Ok(None);
            }
            let Some(header) = shown.view.header(height)? else {
                return Ok(None);
            };
            let certificate = log.entry(Height(height)).map(|entry| entry.certificate);
            Ok(certificate.map(|certificate| Certified {
                number: U64::from(height),
                hash: certificate.block.0.into(),
                header: alloy_rlp::encode(header).into(),
                round: U64::from(certificate.round),
                signatures: certificate
                    .signatures
                    .iter()
                    .map(|(validator, signature)| CommitSignature {
                        validator: *validator,
                        signature: signature.0.to_vec().into(),
                    })
                    .collect(),
            }))
        };
        self.read(find).await
    }
}

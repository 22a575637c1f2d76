//! `openledger_`: data of this chain for which Ethereum has no method.

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{B256, Bytes, U64};
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use protocol::{Height, ValidatorKey};
use serde::{Deserialize, Serialize};

use super::{Rpc, failure::Failure};

/// The header of a block and the certificate that made the block final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certified {
    pub number: U64,
    pub hash: B256,
    /// RLP of the header.
    pub header: Bytes,
    /// The consensus round that decided.
    pub round: U64,
    /// Precommits, in the order of the validators' keys.
    pub signatures: Vec<CommitSignature>,
}

/// A validator's precommit for a block, part of the commit certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitSignature {
    pub validator: ValidatorKey,
    /// 64 bytes, verified under ZIP-215.
    pub signature: Bytes,
}

/// Methods of `openledger_`, which Ethereum clients do not have.
#[rpc(server, namespace = "openledger")]
pub trait Openledger {
    /// The commit certificate of a block; null for block 0, for heights above the tip, and on imported chains.
    #[method(name = "getCertificate")]
    async fn certificate(&self, number: BlockNumberOrTag) -> Result<Option<Certified>, Failure>;
}

#[async_trait]
impl OpenledgerServer for Rpc {
    async fn certificate(&self, number: BlockNumberOrTag) -> Result<Option<Certified>, Failure> {
        let log = self.backend.log();
        let find = move |snapshot: &super::Snapshot| {
            let height = snapshot.number(number);
            if height > snapshot.height.0 {
                return Ok(None);
            }
            let Some(header) = snapshot.view.header(height)? else {
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

//! Checks a light proof: validators vouch for signatures, signatures for the header, the header for the state.

use alloy_consensus::{EMPTY_ROOT_HASH, Header};
use alloy_primitives::{B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::{
    Nibbles, TrieAccount,
    proof::{ProofVerificationError, verify_proof},
};
use consensus::{
    execution::Staker,
    validator::{CertificateError, SetError, ValidatorSet},
};
use protocol::{BlockHash, Height, crypto::Domain, message::vote::Certificate};

use super::{FORMAT, LightProof, ProvenAccount, ProvenSlot};
use crate::genesis::{ChainGenesis, GenesisValidator};

/// The final block that a valid proof is about, with the voting power behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalBlock {
    pub hash: B256,
    pub header: Header,
    /// The voting power that signed.
    pub signed: u64,
    /// The voting power of all validators.
    pub total: u64,
}

/// Reason that a proof is invalid. Each names the field of the proof file.
#[derive(Debug, thiserror::Error)]
pub enum LightError {
    #[error("format is {0:?}; this version checks {FORMAT:?}")]
    Format(String),
    /// The proof is about another chain.
    #[error("{field} is {found}, the chain of this genesis has {wanted}")]
    Chain {
        /// `chainId` or `genesis`.
        field: &'static str,
        found: String,
        wanted: String,
    },
    #[error("header is not the RLP of a block header")]
    Header,
    #[error("header is of block 0, which has no certificate; compute it from the genesis file instead")]
    Genesis,
    /// The signatures do not make the block final.
    #[error("the certificate does not make block {height} final")]
    Certificate {
        height: u64,
        #[source]
        source: CertificateError,
    },
    #[error("account.proof does not lead from the state root to this account")]
    Account(#[source] ProofVerificationError),
    #[error("account.slots[{index}].proof does not lead from the storage root to this value of {slot}")]
    Slot {
        /// Position in the file.
        index: usize,
        slot: B256,
        #[source]
        source: ProofVerificationError,
    },
}

impl LightProof {
    /// Checks the whole proof. The only thing trusted is that `validators` vote on the chain `domain`.
    pub fn check(&self, domain: &Domain, validators: &ValidatorSet) -> Result<FinalBlock, LightError> {
        if self.format != FORMAT {
            return Err(LightError::Format(self.format.clone()));
        }
        same("chainId", self.chain_id, domain.chain_id)?;
        same("genesis", self.genesis, B256::from(domain.genesis))?;
        let block = self.check_certificate(domain, validators)?;
        self.account.check(block.header.state_root)?;
        Ok(block)
    }

    fn check_certificate(&self, domain: &Domain, validators: &ValidatorSet) -> Result<FinalBlock, LightError> {
        // The hash is taken of the bytes as they came, so they need not be a canonical encoding.
        let hash = keccak256(&self.header);
        let mut rest = &self.header[..];
        let header = Header::decode(&mut rest).map_err(|_| LightError::Header)?;
        if !rest.is_empty() {
            return Err(LightError::Header);
        }
        if header.number == 0 {
            return Err(LightError::Genesis);
        }
        let certificate = Certificate {
            height: Height(header.number),
            round: self.certificate.round,
            block: BlockHash(hash.0),
            signatures: self.certificate.signatures.clone(),
        };
        let wrong = |source| LightError::Certificate {
            height: header.number,
            source,
        };
        validators.check(&certificate, domain).map_err(wrong)?;
        let power = |(key, _): &(_, _)| validators.get(key).map_or(0, |voter| voter.power);
        Ok(FinalBlock {
            hash,
            signed: certificate.signatures.iter().map(power).sum(),
            total: validators.total(),
            header,
        })
    }
}

impl ProvenAccount {
    fn check(&self, state_root: B256) -> Result<(), LightError> {
        let account = TrieAccount {
            nonce: self.nonce,
            balance: self.balance,
            storage_root: self.storage_root,
            code_hash: self.code_hash,
        };
        // Since EIP-161 no empty account is in the state, so an empty one is proven by its absence.
        let nothing = (0, U256::ZERO, EMPTY_ROOT_HASH, KECCAK256_EMPTY);
        let is_there = (self.nonce, self.balance, self.storage_root, self.code_hash) != nothing;
        let expected = is_there.then(|| alloy_rlp::encode(account));
        verify_value(state_root, self.address.as_slice(), expected, &self.proof).map_err(LightError::Account)?;
        self.slots.iter().enumerate().try_for_each(|(index, slot)| {
            let wrong = |source| LightError::Slot {
                index,
                slot: slot.slot,
                source,
            };
            slot.check(self.storage_root).map_err(wrong)
        })
    }
}

impl ProvenSlot {
    fn check(&self, storage_root: B256) -> Result<(), ProofVerificationError> {
        let expected = (!self.value.is_zero()).then(|| alloy_rlp::encode(self.value));
        verify_value(storage_root, self.slot.as_slice(), expected, &self.proof)
    }
}

/// The validators of the first epoch, from a genesis file.
pub fn founders(genesis: &ChainGenesis) -> Result<ValidatorSet, SetError> {
    let staker = |validator: &GenesisValidator| Staker {
        key: validator.key,
        account: validator.account,
        stake: validator.stake,
    };
    let mut stakers: Vec<_> = genesis.params.validators.iter().map(staker).collect();
    stakers.sort_by(|a, b| b.stake.cmp(&a.stake).then(a.key.cmp(&b.key)));
    stakers.truncate(usize::try_from(genesis.params.validators_max).unwrap_or(usize::MAX));
    ValidatorSet::new(&stakers)
}

/// Checks that the trie nodes lead from `root` to `expected` under the hash of `key`; for `None`, that nothing is
/// there.
fn verify_value(
    root: B256,
    key: &[u8],
    expected: Option<Vec<u8>>,
    proof: &[Bytes],
) -> Result<(), ProofVerificationError> {
    verify_proof(root, Nibbles::unpack(keccak256(key)), expected, proof)
}

fn same<T: PartialEq + ToString>(field: &'static str, found: T, wanted: T) -> Result<(), LightError> {
    if found == wanted {
        return Ok(());
    }
    let (found, wanted) = (found.to_string(), wanted.to_string());
    Err(LightError::Chain { field, found, wanted })
}

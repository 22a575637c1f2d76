//! A cache of valid signatures for the height being decided. The core checks a vote when it arrives and again in
//! every certificate that contains it.

use std::{collections::BTreeSet, sync::Mutex};

use async_trait::async_trait;
use malachite_ed25519::{PublicKey, Signature};
use malachite_signing::{Error, VerificationResult, Verifier};
use malachite_types::{ValidatorProof, VoteExtensionScope};
use protocol::crypto::{Domain, Preimage, digest};

use crate::{
    context::{ChainContext, Proposal, Vote},
    convert::{proposal_from_core, vote_from_core},
};

/// Valid signatures kept. A hundred validators need about 600 in a height of three rounds; more are verified each
/// time.
const REMEMBERED_MAX: usize = 8192;

pub(crate) struct SignatureCache {
    domain: Domain,
    valid: Mutex<BTreeSet<[u8; 32]>>,
}

impl SignatureCache {
    pub(crate) fn new(domain: Domain) -> Self {
        Self {
            domain,
            valid: Mutex::default(),
        }
    }

    pub(crate) fn clear(&self) {
        self.valid.lock().expect("nothing panics while holding it").clear();
    }

    /// Returns true if `key` signed `message`. Invalid results are not kept: their sender is penalised, so they are
    /// rare.
    pub(crate) fn is_valid(&self, message: &impl Preimage, signature: &Signature, key: &PublicKey) -> bool {
        let preimage = message.preimage(&self.domain);
        let digest = digest(
            "openledger/verdict/1",
            &[key.as_bytes(), &signature.to_bytes(), &preimage],
        );
        let mut valid = self.valid.lock().expect("nothing panics while holding it");
        if valid.contains(&digest) {
            return true;
        }
        if key.verify(&preimage, signature).is_err() {
            return false;
        }
        if valid.len() < REMEMBERED_MAX {
            valid.insert(digest);
        }
        true
    }
}

#[async_trait]
impl Verifier<ChainContext> for SignatureCache {
    async fn verify_signed_vote(
        &self,
        vote: &Vote,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::from_bool(self.is_valid(
            &vote_from_core(vote),
            signature,
            key,
        )))
    }

    async fn verify_signed_proposal(
        &self,
        proposal: &Proposal,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::from_bool(self.is_valid(
            &proposal_from_core(proposal),
            signature,
            key,
        )))
    }

    // Vote extensions and validator proofs do not exist on this chain, so every one of them is invalid.
    async fn verify_signed_vote_extension(
        &self,
        _: &VoteExtensionScope<ChainContext>,
        _: &Vec<u8>,
        _: &Signature,
        _: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::Invalid)
    }

    async fn verify_validator_proof(&self, _: &ValidatorProof<ChainContext>) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::Invalid)
    }
}

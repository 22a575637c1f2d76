//! Signatures that were found good, remembered for the height they are about: the core checks a vote when it comes and
//! again in every certificate it ends up in.

use std::{collections::BTreeSet, sync::Mutex};

use async_trait::async_trait;
use malachite_ed25519::{PublicKey, Signature};
use malachite_signing::{Error, VerificationResult, Verifier};
use malachite_types::{ValidatorProof, VoteExtensionScope};
use protocol::crypto::{Domain, Preimage, digest};

use crate::{
    context::{Ours, Proposal, Vote},
    wire::{proposal_out, vote_out},
};

/// Good signatures remembered at most; a hundred validators need about 600 in a height of three rounds.
const REMEMBERED_MAX: usize = 8192;

pub(crate) struct Verdicts {
    domain: Domain,
    good: Mutex<BTreeSet<[u8; 32]>>,
}

impl Verdicts {
    pub(crate) fn new(domain: Domain) -> Self {
        Self {
            domain,
            good: Mutex::default(),
        }
    }

    pub(crate) fn forget(&self) {
        self.good.lock().expect("nothing panics while holding it").clear();
    }

    /// Whether `key` signed `message`. Only good verdicts are remembered: a bad one costs its sender its reputation.
    pub(crate) fn is_good(&self, message: &impl Preimage, signature: &Signature, key: &PublicKey) -> bool {
        let preimage = message.preimage(&self.domain);
        let name = digest(
            "openledger/verdict/1",
            &[key.as_bytes(), &signature.to_bytes(), &preimage],
        );
        let mut good = self.good.lock().expect("nothing panics while holding it");
        if good.contains(&name) {
            return true;
        }
        if key.verify(&preimage, signature).is_err() {
            return false;
        }
        if good.len() < REMEMBERED_MAX {
            good.insert(name);
        }
        true
    }
}

#[async_trait]
impl Verifier<Ours> for Verdicts {
    async fn verify_signed_vote(
        &self,
        vote: &Vote,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::from_bool(self.is_good(
            &vote_out(vote),
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
        Ok(VerificationResult::from_bool(self.is_good(
            &proposal_out(proposal),
            signature,
            key,
        )))
    }

    // Neither extensions nor validator proofs exist on this chain: whoever sends one is lying.
    async fn verify_signed_vote_extension(
        &self,
        _: &VoteExtensionScope<Ours>,
        _: &Vec<u8>,
        _: &Signature,
        _: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::Invalid)
    }

    async fn verify_validator_proof(&self, _: &ValidatorProof<Ours>) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::Invalid)
    }
}

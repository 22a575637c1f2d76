//! Who votes, with what weight, and whose turn it is to propose.
//!
//! Stake is scaled down before it reaches the engine: the engine multiplies power by three in 64 bits, and a chain whose
//! stake is counted in the smallest unit would overflow it.

use std::sync::Arc;

use malachite_ed25519::PublicKey;
use protocol::{
    Account, Height, ValidatorKey,
    crypto::Domain,
    message::vote::{Certificate, VoteKind},
};

use crate::{context::Address, execution::Staker};

/// Total voting power stays at or below this (plus one per validator, since nobody is rounded down to nothing).
pub const POWER_MAX: u64 = 1 << 40;

/// One voter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// The key its votes are signed with, and its name.
    pub key: ValidatorKey,
    pub(crate) address: Address,
    pub(crate) public: PublicKey,
    /// Its weight.
    pub power: u64,
    /// The account that earns the fees of its blocks.
    pub account: Account,
}

/// The voters of an epoch, in the order of their keys. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSet {
    voters: Arc<Vec<Validator>>,
    total: u64,
}

/// Why chain state names no usable validators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Nobody is at stake.
    #[error("no validator has any stake")]
    Empty,
    /// The same key twice.
    #[error("validator key {0} is named twice")]
    Twice(ValidatorKey),
}

/// Why a certificate does not make a block final.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Signed by somebody outside the set.
    #[error("{0:#} is not a validator of this height")]
    Stranger(ValidatorKey),
    /// Signatures not in the strict order of their keys.
    #[error("signatures are not in the order of their keys")]
    Order,
    /// A signature that is none.
    #[error("the signature of {0:#} is wrong")]
    Signature(ValidatorKey),
    /// Too little weight.
    #[error("signatures weigh {have} where more than two thirds of {total} are needed")]
    Quorum {
        /// The weight that signed.
        have: u64,
        /// The weight of everyone.
        total: u64,
    },
}

impl ValidatorSet {
    /// The set that `stakers` make. Stake is scaled to power by the same shift for everyone, rounding down, never to 0.
    /// A key that is no point of the curve could never sign: whoever registered it is left out.
    pub fn new(stakers: &[Staker]) -> Result<Self, SetError> {
        let usable = |staker: &Staker| Some((*staker).clone()).zip(PublicKey::from_bytes(staker.key.0).ok());
        let at_stake: Vec<_> = stakers
            .iter()
            .filter(|staker| staker.stake.0 > 0)
            .filter_map(usable)
            .collect();
        let sum: u128 = at_stake
            .iter()
            .map(|(staker, _)| staker.stake.0)
            .fold(0, u128::saturating_add);
        let shift = (128 - sum.leading_zeros()).saturating_sub(POWER_MAX.trailing_zeros());
        let voter = |(staker, public): &(Staker, PublicKey)| {
            let power = u64::try_from((staker.stake.0 >> shift).max(1)).expect("the shift leaves 41 bits");
            let (key, account) = (staker.key, staker.account);
            Validator {
                key,
                address: Address(key),
                public: *public,
                power,
                account,
            }
        };
        let mut voters: Vec<_> = at_stake.iter().map(voter).collect();
        voters.sort_by_key(|voter| voter.key);
        if let Some(pair) = voters.windows(2).find(|pair| pair[0].key == pair[1].key) {
            return Err(SetError::Twice(pair[0].key));
        }
        let total = voters.iter().map(|voter| voter.power).sum();
        if total == 0 {
            return Err(SetError::Empty);
        }
        assert!(total <= POWER_MAX + voters.len() as u64);
        Ok(Self {
            voters: Arc::new(voters),
            total,
        })
    }

    /// Everyone, in the order of their keys.
    pub fn voters(&self) -> &[Validator] {
        &self.voters
    }

    /// The weight of everyone.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The voter of that name.
    pub fn get(&self, key: &ValidatorKey) -> Option<&Validator> {
        self.voters
            .binary_search_by_key(key, |voter| voter.key)
            .ok()
            .map(|at| &self.voters[at])
    }

    /// Whose turn it is: a Weyl sequence over the line of stakes, so that turns are as frequent as stake is large, spread
    /// evenly, and computed from nothing but the height and the round.
    pub fn proposer(&self, height: Height, round: u32) -> &Validator {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let turn = height.0.wrapping_add(u64::from(round));
        let fraction = u128::from(turn.wrapping_mul(GOLDEN));
        let mut point = u64::try_from((fraction * u128::from(self.total)) >> 64).expect("below the total");
        for voter in self.voters.iter() {
            match point.checked_sub(voter.power) {
                Some(rest) => point = rest,
                None => return voter,
            }
        }
        unreachable!("the point lies below the total, which is the sum of all powers")
    }

    /// The accounts of everyone.
    pub fn accounts(&self) -> Vec<Account> {
        self.voters.iter().map(|voter| voter.account).collect()
    }

    /// Whether `weight` is more than two thirds of everyone.
    pub fn is_quorum(&self, weight: u64) -> bool {
        3 * u128::from(weight) > 2 * u128::from(self.total)
    }

    /// Whether the precommits of `certificate` make its block final under this set.
    pub fn check(&self, certificate: &Certificate, domain: &Domain) -> Result<(), CertificateError> {
        let mut have = 0;
        let mut last = None;
        // Weigh first: a signature check costs more than everything else here.
        for (key, _) in &certificate.signatures {
            if last.is_some_and(|last| last >= *key) {
                return Err(CertificateError::Order);
            }
            last = Some(*key);
            have += self.get(key).ok_or(CertificateError::Stranger(*key))?.power;
        }
        if !self.is_quorum(have) {
            return Err(CertificateError::Quorum {
                have,
                total: self.total,
            });
        }
        let preimage = |key| protocol::crypto::Preimage::preimage(&certificate.vote(VoteKind::Precommit, key), domain);
        match certificate.signatures.iter().find(|(key, signature)| {
            let voter = self.get(key).expect("weighed above");
            voter
                .public
                .inner()
                .verify(&signature.0.into(), &preimage(*key))
                .is_err()
        }) {
            Some((key, _)) => Err(CertificateError::Signature(*key)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use protocol::{Amount, BlockHash, crypto::SecretKey, unit::SUPPLY};

    use super::*;

    pub(crate) fn keys(n: u8) -> Vec<SecretKey> {
        (1..=n).map(|seed| SecretKey::from_seed([seed; 32])).collect()
    }

    pub(crate) fn stakers(keys: &[SecretKey], stake: impl Fn(usize) -> Amount) -> Vec<Staker> {
        let staker = |(i, key): (usize, &SecretKey)| Staker {
            key: key.validator(),
            account: Account([u8::try_from(i).unwrap(); 20]),
            stake: stake(i),
        };
        keys.iter().enumerate().map(staker).collect()
    }

    #[test]
    fn all_the_open_there_is_fits_the_engine() {
        let keys = keys(4);
        let set = ValidatorSet::new(&stakers(&keys, |i| if i == 0 { SUPPLY } else { Amount(1) })).unwrap();
        assert!(set.total() <= POWER_MAX + 4);
        assert!(set.voters().iter().all(|voter| voter.power > 0));
    }

    #[test]
    fn turns_are_as_frequent_as_stake_is_large() {
        let keys = keys(4);
        let set = ValidatorSet::new(&stakers(&keys, |i| Amount::open(i as u64 + 1))).unwrap();
        let mut turns = BTreeMap::<_, u64>::new();
        for height in 0..10_000 {
            *turns.entry(set.proposer(Height(height), 0).key).or_default() += 1;
        }
        for (i, key) in keys.iter().enumerate() {
            let expect = 1000 * (i as u64 + 1);
            assert!(turns[&key.validator()].abs_diff(expect) < 20, "{turns:?}");
        }
    }

    #[test]
    fn a_round_that_failed_is_led_by_another() {
        let keys = keys(4);
        let set = ValidatorSet::new(&stakers(&keys, |_| Amount::open(5))).unwrap();
        for height in 0..1000 {
            assert_ne!(set.proposer(Height(height), 0).key, set.proposer(Height(height), 1).key);
        }
    }

    #[test]
    fn a_certificate_needs_a_quorum_of_real_signatures() {
        let keys = keys(4);
        let domain = Domain {
            chain_id: 1,
            genesis: [2; 32],
        };
        let set = ValidatorSet::new(&stakers(&keys, |_| Amount::open(5))).unwrap();
        let signed = |signers: &[usize]| {
            let mut certificate = Certificate {
                height: Height(3),
                round: 0,
                block: BlockHash([7; 32]),
                signatures: Vec::new(),
            };
            for &i in signers {
                let vote = certificate.vote(VoteKind::Precommit, keys[i].validator());
                let signature = protocol::crypto::Signed::new(vote, &keys[i], &domain).signature;
                certificate.signatures.push((keys[i].validator(), signature));
            }
            certificate.signatures.sort();
            certificate
        };
        assert_eq!(set.check(&signed(&[0, 1, 2]), &domain), Ok(()));
        assert!(matches!(
            set.check(&signed(&[0, 1]), &domain),
            Err(CertificateError::Quorum { .. })
        ));
        assert!(matches!(
            set.check(&signed(&[0, 1, 1]), &domain),
            Err(CertificateError::Order)
        ));
        let foreign = Domain { chain_id: 2, ..domain };
        assert!(matches!(
            set.check(&signed(&[0, 1, 2]), &foreign),
            Err(CertificateError::Signature(_))
        ));
        let small = ValidatorSet::new(&stakers(&keys[..3], |_| Amount::open(5))).unwrap();
        assert!(matches!(
            small.check(&signed(&[0, 1, 2, 3]), &domain),
            Err(CertificateError::Stranger(_))
        ));
    }
}

//! Validator sets, proposer selection, and the check of a commit certificate.
//!
//! Stake is scaled down to voting power before it reaches the Malachite core: the core multiplies power by three in
//! 64 bits, and stake counted in the smallest unit of OPEN would overflow that.

use std::sync::Arc;

use malachite_ed25519::PublicKey;
use protocol::{
    Account, Height, ValidatorKey,
    crypto::Domain,
    message::vote::{Certificate, VoteKind},
};

use crate::{context::Address, execution::Staker};

/// Bound of the total voting power, plus one per validator because power is never rounded down to 0.
pub const POWER_MAX: u64 = 1 << 40;

/// A validator with voting power and the account that its blocks pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// The key that signs its votes and identifies it.
    pub key: ValidatorKey,
    pub(crate) address: Address,
    pub(crate) public: PublicKey,
    pub power: u64,
    /// The account that earns the fees of its blocks.
    pub account: Account,
}

/// The validators of an epoch, in the order of their keys. Never empty.
///
/// ```
/// use consensus::{execution::Staker, validator::ValidatorSet};
/// use protocol::{Account, Amount, Height, crypto::SecretKey};
///
/// let staker = |seed: u8, open: u64| Staker {
///     key: SecretKey::from_seed([seed; 32]).validator(),
///     account: Account([seed; 20]),
///     stake: Amount::open(open),
/// };
/// let set = ValidatorSet::new(&[staker(1, 30), staker(2, 30), staker(3, 40)])?;
/// assert_eq!(set.validators().len(), 3);
///
/// // More than two thirds of the power are a quorum; exactly two thirds are not.
/// assert!(set.is_quorum(set.total()));
/// assert!(!set.is_quorum(set.total() / 3 * 2));
/// assert!(set.get(&set.proposer(Height(1), 0).key).is_some());
/// # Ok::<(), consensus::validator::SetError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSet {
    validators: Arc<Vec<Validator>>,
    total: u64,
}

/// Reason that a list of stakers makes no validator set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("no validator has any stake")]
    Empty,
    #[error("validator key {0} is named twice")]
    Duplicate(ValidatorKey),
}

/// Reason that a certificate does not make a block final.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("{0:#} is not a validator of this height")]
    NotAValidator(ValidatorKey),
    /// The signatures are not in strictly ascending order of their keys. The order makes the encoding unique and
    /// shows a key that signs twice.
    #[error("signatures are not in the order of their keys")]
    KeyOrder,
    #[error("the signature of {0:#} is wrong")]
    Signature(ValidatorKey),
    /// The signers hold no more than two thirds of the voting power.
    #[error("signatures weigh {have}, more than two thirds of {total} are needed")]
    Quorum { have: u64, total: u64 },
}

impl ValidatorSet {
    /// Builds the set that `stakers` make. Stake becomes voting power by the same right shift for all, rounded
    /// down but never to 0. Stakers without stake are left out, and so are keys that are no point of the curve:
    /// they could never sign.
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
        // The number of bits by which the sum exceeds `POWER_MAX`.
        let shift = (128 - sum.leading_zeros()).saturating_sub(POWER_MAX.trailing_zeros());
        let validator = |(staker, public): &(Staker, PublicKey)| {
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
        let mut validators: Vec<_> = at_stake.iter().map(validator).collect();
        validators.sort_by_key(|validator| validator.key);
        if let Some(pair) = validators.windows(2).find(|pair| pair[0].key == pair[1].key) {
            return Err(SetError::Duplicate(pair[0].key));
        }
        let total = validators.iter().map(|validator| validator.power).sum();
        if total == 0 {
            return Err(SetError::Empty);
        }
        assert!(total <= POWER_MAX + validators.len() as u64);
        Ok(Self {
            validators: Arc::new(validators),
            total,
        })
    }

    /// All validators, in the order of their keys. The order is the same on every node.
    pub fn validators(&self) -> &[Validator] {
        &self.validators
    }

    /// The voting power of all validators together. Quorums are relative to it.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The validator with this key; `None` if it is not in the set.
    pub fn get(&self, key: &ValidatorKey) -> Option<&Validator> {
        self.validators
            .binary_search_by_key(key, |validator| validator.key)
            .ok()
            .map(|at| &self.validators[at])
    }

    /// The validator whose turn it is to propose in this round. Turns follow a Weyl sequence over the line of
    /// stakes: they come in proportion to stake, are spread evenly, and depend on the height and the round alone.
    pub fn proposer(&self, height: Height, round: u32) -> &Validator {
        // 2^64 divided by the golden ratio, the step that spreads a Weyl sequence most evenly.
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        // Height and round are added, so a failed round's successor is the proposer of the next height's first round.
        let turn = height.0.wrapping_add(u64::from(round));
        let fraction = u128::from(turn.wrapping_mul(GOLDEN));
        let mut point = u64::try_from((fraction * u128::from(self.total)) >> 64).expect("below the total");
        for validator in self.validators.iter() {
            match point.checked_sub(validator.power) {
                Some(rest) => point = rest,
                None => return validator,
            }
        }
        unreachable!("the point lies below the total, which is the sum of all powers")
    }

    /// The accounts of all validators, in the order of the validators.
    pub fn accounts(&self) -> Vec<Account> {
        self.validators.iter().map(|validator| validator.account).collect()
    }

    /// Returns true if `power` is more than two thirds of the total.
    pub fn is_quorum(&self, power: u64) -> bool {
        3 * u128::from(power) > 2 * u128::from(self.total)
    }

    /// Checks that the precommits in `certificate` make its block final under this set, on the chain `domain`.
    pub fn check(&self, certificate: &Certificate, domain: &Domain) -> Result<(), CertificateError> {
        let mut have = 0;
        let mut last = None;
        // Power first: a signature check costs more than all the rest here.
        for (key, _) in &certificate.signatures {
            // Strictly ascending keys also rule out a validator that is counted twice.
            if last.is_some_and(|last| last >= *key) {
                return Err(CertificateError::KeyOrder);
            }
            last = Some(*key);
            have += self.get(key).ok_or(CertificateError::NotAValidator(*key))?.power;
        }
        if !self.is_quorum(have) {
            return Err(CertificateError::Quorum {
                have,
                total: self.total,
            });
        }
        let preimage = |key| protocol::crypto::Preimage::preimage(&certificate.vote(VoteKind::Precommit, key), domain);
        match certificate.signatures.iter().find(|(key, signature)| {
            let validator = self.get(key).expect("weighed above");
            validator
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
    fn the_whole_supply_fits_the_total_voting_power() {
        let keys = keys(4);
        let set = ValidatorSet::new(&stakers(&keys, |i| if i == 0 { SUPPLY } else { Amount(1) })).unwrap();
        assert!(set.total() <= POWER_MAX + 4);
        assert!(set.validators().iter().all(|validator| validator.power > 0));
    }

    #[test]
    fn turns_are_proportional_to_stake() {
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
    fn the_next_round_has_another_proposer() {
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
            Err(CertificateError::KeyOrder)
        ));
        let foreign = Domain { chain_id: 2, ..domain };
        assert!(matches!(
            set.check(&signed(&[0, 1, 2]), &foreign),
            Err(CertificateError::Signature(_))
        ));
        let small = ValidatorSet::new(&stakers(&keys[..3], |_| Amount::open(5))).unwrap();
        assert!(matches!(
            small.check(&signed(&[0, 1, 2, 3]), &domain),
            Err(CertificateError::NotAValidator(_))
        ));
    }
}

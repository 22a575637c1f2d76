//! Encoding of announcements, and which of them are refused.

use super::*;
use crate::crypto::SecretKey;

const HERE: Domain = Domain {
    chain_id: 7,
    genesis: [9; 32],
};
const NOW: Time = Time::from_secs(1_000_000);

fn dataset(key: &SecretKey, term: Term) -> Announcement {
    let dataset = Dataset {
        datanet: None,
        root: BlobHash([5; 32]),
        bytes: 1 << 30,
        shards: 16,
        provider: NodeId(key.public()),
        term,
    };
    Announcement::Dataset(Signed::new(dataset, key, &HERE))
}

fn worker(key: &SecretKey, change: impl Fn(&mut Worker)) -> Announcement {
    let mut worker = Worker {
        worker: NodeId(key.public()),
        kinds: BTreeSet::from([Work::Train, Work::Infer]),
        bases: vec![BlobHash([1; 32])],
        prices: vec![PriceHint {
            work: Work::Infer,
            per_million_tokens: Amount::open(1),
        }],
        machine: Machine {
            device: Device::Cpu,
            threads: 8,
            memory_gib: 16,
        },
        term: Term::starting(NOW, 60_000),
    };
    change(&mut worker);
    Announcement::Worker(Signed::new(worker, key, &HERE))
}

#[test]
fn an_announcement_is_valid_on_its_chain_for_its_term() {
    let key = SecretKey::from_seed([1; 32]);
    let said = dataset(&key, Term::starting(NOW, 60_000));
    let read = Announcement::decode(&said.encode()).expect("reads back");
    assert_eq!(read, said);
    assert_eq!(read.check(NOW, &HERE), Ok(()));
    assert_eq!(read.check(NOW.after_ms(60_000), &HERE), Err(AnnounceError::Expired(0)));
    let there = Domain { chain_id: 8, ..HERE };
    assert_eq!(
        read.check(NOW, &there),
        Err(AnnounceError::Signature(NodeId(key.public())))
    );
}

#[test]
fn a_term_in_the_future_or_above_the_limit_is_refused() {
    let key = SecretKey::from_seed([1; 32]);
    let check = |issued: Time, expires: Time| dataset(&key, Term { issued, expires }).check(NOW, &HERE);
    let early = NOW.after_ms(SKEW_MS + 1000);
    assert_eq!(
        check(early, early.after_ms(1)),
        Err(AnnounceError::Early(SKEW_MS + 1000))
    );
    assert_eq!(
        check(NOW, NOW.after_ms(LIFE_MS_MAX + 1)),
        Err(AnnounceError::TooLong(LIFE_MS_MAX + 1))
    );
    assert_eq!(check(NOW, NOW.after_ms(LIFE_MS_MAX)), Ok(()));
}

#[test]
fn every_changed_byte_breaks_an_announcement() {
    let key = SecretKey::from_seed([1; 32]);
    for said in [dataset(&key, Term::starting(NOW, 60_000)), worker(&key, |_| ())] {
        let bytes = said.encode();
        for n in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[n] ^= 1;
            let counts = Announcement::decode(&changed).is_ok_and(|read| read.check(NOW, &HERE).is_ok());
            assert!(!counts, "byte {n} of {said:?}");
        }
    }
}

#[test]
fn a_worker_with_no_work_or_too_many_entries_is_refused() {
    let key = SecretKey::from_seed([2; 32]);
    assert_eq!(worker(&key, |_| ()).check(NOW, &HERE), Ok(()));
    for change in [
        (|worker: &mut Worker| worker.kinds.clear()) as fn(&mut Worker),
        |worker| worker.bases = vec![BlobHash([1; 32]); BASES_MAX + 1],
        |worker| worker.prices[0].work = Work::Audit,
    ] {
        let error = worker(&key, change)
            .check(NOW, &HERE)
            .expect_err("says too little or too much");
        assert!(matches!(error, AnnounceError::Content(_)), "{error}");
    }
}

#[test]
fn the_largest_announcement_fits() {
    let key = SecretKey::from_seed([2; 32]);
    let largest = worker(&key, |worker| worker.bases = vec![BlobHash([1; 32]); BASES_MAX]);
    assert!(Announcement::decode(&largest.encode()).is_ok());
}

use super::*;

const RICH: AccountState = AccountState {
    nonce: 0,
    balance: Amount(1_000_000),
};

fn tx(sender: u8, nonce: u64, tip: u128) -> PooledTransaction {
    let name = [&[sender][..], &nonce.to_be_bytes(), &tip.to_be_bytes()].concat();
    PooledTransaction {
        hash: TxHash(protocol::crypto::digest("test", &[&name])),
        sender: Account([sender; 20]),
        nonce,
        gas_limit: 21_000,
        fee_cap: 100 + tip,
        tip_cap: tip,
        cost: Amount(10),
        raw: name.into(),
    }
}

fn pool(limits: Limits, txs: &[PooledTransaction]) -> Mempool {
    let mut pool = Mempool::new(limits);
    txs.iter().for_each(|tx| pool.insert(tx.clone(), RICH).expect("fits"));
    pool
}

fn raws(txs: &[PooledTransaction]) -> Vec<Arc<[u8]>> {
    txs.iter().map(|tx| tx.raw.clone()).collect()
}

#[test]
fn a_higher_tip_goes_first_but_never_before_an_earlier_nonce_of_its_sender() {
    let (a0, a1, b0) = (tx(1, 0, 1), tx(1, 1, 9), tx(2, 0, 5));
    let pool = pool(Limits::default(), &[a0.clone(), a1.clone(), b0.clone()]);
    assert_eq!(pool.best(100, u64::MAX, usize::MAX), raws(&[b0.clone(), a0, a1]));
    assert_eq!(pool.best(100, 21_000, usize::MAX), raws(&[b0]));
}

#[test]
fn transactions_behind_a_nonce_gap_wait_until_it_is_filled() {
    let (first, third) = (tx(1, 0, 1), tx(1, 2, 1));
    let mut pool = pool(Limits::default(), &[first, third]);
    assert_eq!(pool.best(0, u64::MAX, usize::MAX).len(), 1);
    assert_eq!(pool.next_nonce(&Account([1; 20])), Some(1));
    pool.insert(tx(1, 1, 1), RICH).unwrap();
    assert_eq!(pool.best(0, u64::MAX, usize::MAX).len(), 3);
    assert_eq!(pool.next_nonce(&Account([1; 20])), Some(3));
}

#[test]
fn a_transaction_below_the_base_fee_stays_in_the_pool() {
    let pool = pool(Limits::default(), &[tx(1, 0, 1)]);
    assert!(pool.has_ready(101) && !pool.has_ready(102));
    assert!(pool.best(102, u64::MAX, usize::MAX).is_empty());
}

#[test]
fn a_replacement_pays_at_least_a_tenth_more() {
    let mut pool = pool(Limits::default(), &[tx(1, 0, 100)]);
    assert_eq!(
        pool.insert(tx(1, 0, 109), RICH),
        Err(PoolError::Underpriced { need: 220 })
    );
    pool.insert(tx(1, 0, 120), RICH).unwrap();
    assert_eq!(pool.len(), 1);
}

#[test]
fn a_full_pool_evicts_the_lowest_tip() {
    let limits = Limits {
        transactions: 2,
        ..Limits::default()
    };
    let mut pool = pool(limits, &[tx(1, 0, 5), tx(2, 0, 7)]);
    assert_eq!(pool.insert(tx(3, 0, 5), RICH), Err(PoolError::Full(5)));
    pool.insert(tx(3, 0, 6), RICH).unwrap();
    assert!(!pool.contains(&tx(1, 0, 5).hash) && pool.len() == 2);
}

#[test]
fn an_included_nonce_drops_all_earlier_ones() {
    let mut pool = pool(Limits::default(), &[tx(1, 0, 1), tx(1, 1, 1), tx(1, 2, 1)]);
    pool.included(&[(tx(1, 1, 1).hash, Account([1; 20]), 2)]);
    assert_eq!(pool.len(), 1);
    assert_eq!(pool.best(0, u64::MAX, usize::MAX), raws(&[tx(1, 2, 1)]));
}

#[test]
fn every_refusal_has_its_own_error() {
    let account = AccountState {
        nonce: 3,
        balance: Amount(5),
    };
    let mut pool = Mempool::new(Limits {
        per_sender: 1,
        ..Limits::default()
    });
    assert_eq!(
        pool.insert(tx(1, 2, 1), account),
        Err(PoolError::NonceTooLow { expected: 3, found: 2 })
    );
    assert!(matches!(
        pool.insert(tx(1, 9999, 1), account),
        Err(PoolError::NonceTooHigh { .. })
    ));
    assert_eq!(
        pool.insert(tx(1, 3, 1), account),
        Err(PoolError::Funds { have: 5, need: 10 })
    );
    pool.insert(tx(1, 0, 1), RICH).unwrap();
    assert_eq!(pool.insert(tx(1, 0, 1), RICH), Err(PoolError::Known));
    assert_eq!(pool.insert(tx(1, 1, 1), RICH), Err(PoolError::SenderFull(1)));
}

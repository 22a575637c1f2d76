//! Deals in a home, without a network.

use protocol::{
    Account, Amount, BlobHash, NodeId, Time,
    crypto::{Domain, SecretKey, Signed},
    machine::Deal,
    proof::{Bundle, Proof, Shard},
    receipt::Outcome,
};

use super::{hosted::Hosted, owner::Owned, record::PinRecord, *};
use crate::Data;
use base::{clock::Clock, home::Home};

const DOMAIN: Domain = Domain {
    chain_id: 7,
    genesis: [7; 32],
};

fn deal(owner: &SecretKey, bytes: &[u8]) -> Signed<Deal> {
    let deal = Deal {
        owner: NodeId(owner.public()),
        account: Account::default(),
        nonce: 1,
        set: BlobHash([9; 32]),
        shards: vec![Shard::of(bytes)],
        copies: 2,
        until: Time(u64::MAX),
        price: Amount(3),
        escrow: Amount(100),
        challenges: 4,
        fetch_within_ms: 60_000,
        answer_within_ms: 1_000,
    };
    Signed::new(deal, owner, &DOMAIN)
}

#[tokio::test]
async fn a_killed_owner_remembers_its_hosts_and_what_it_owes_them() {
    let dir = tempfile::tempdir().unwrap();
    let (home, key) = (Home::new(dir.path()), SecretKey::from_seed([1; 32]));
    let config = config::Config::default();
    let data = Data::offline(&home, &config, SecretKey::from_seed([1; 32]), None)
        .await
        .unwrap();
    let (bytes, host) = (vec![5; 40_000], NodeId([2; 32]));
    let signed = deal(&key, &bytes);
    let place = home.deals().join("own/a");
    let owned = Arc::new(Owned::make(&place, signed, data.peer.now()).await.unwrap());
    let bundle = Bundle {
        proofs: vec![Proof::of_bytes(&bytes, Shard::of(&bytes).last()).unwrap()],
    };
    for said in [
        PinRecord::Candidate(host),
        PinRecord::Accepted(host),
        PinRecord::Registered { host, part: 0, bundle },
        PinRecord::Audited {
            host,
            epoch: 4,
            outcome: Outcome::Held,
        },
    ] {
        owned.apply(&data.pins, said).await.unwrap();
    }
    assert_eq!((owned.holding(), owned.spent()), (vec![host], Amount(3)));
    drop(owned);

    let again = Deals::open(&home, &config, NodeId(key.public())).unwrap();
    let owned = again.owned().remove(0);
    assert_eq!(
        (owned.holding(), owned.spent(), owned.is_over()),
        (vec![host], Amount(3), false)
    );
    // The same epoch is not paid twice.
    owned
        .apply(
            &data.pins,
            PinRecord::Audited {
                host,
                epoch: 4,
                outcome: Outcome::Held,
            },
        )
        .await
        .unwrap();
    assert_eq!(owned.spent(), Amount(3));
    data.stop().await;
}

#[tokio::test]
async fn a_killed_host_keeps_its_copies_and_reserves_their_space_once() {
    let dir = tempfile::tempdir().unwrap();
    let (home, key) = (Home::new(dir.path()), SecretKey::from_seed([1; 32]));
    let signed = deal(&key, &[5; 40_000]);
    let (id, me) = (signed.message.id(), NodeId([2; 32]));
    let place = home.deals().join("hosted").join("a");
    Hosted::take(&place, signed, me, Clock::new().now()).await.unwrap();
    let config = config::Config::default();
    let pins = Deals::open(&home, &config, me).unwrap();
    assert!(
        pins.host(id)
            .is_some_and(|deal| !deal.is_over() && !deal.is_registered())
    );
    assert!(pins.host_terms().free <= config.data.host.0 - 40_000);
}

//! Datanets in a home, without a network.

use protocol::{NodeId, crypto::SecretKey};

use super::*;
use base::operator::datanet::{CreateRequest, DatanetVerb, GrantRequest};

const DOMAIN: Domain = Domain {
    chain_id: 7,
    genesis: [7; 32],
};

async fn opened(home: &Home, seed: u8) -> Datanets {
    let key = SecretKey::from_seed([seed; 32]);
    let peer = Peer::offline(key, Some(DOMAIN));
    Datanets::open(home, &config::Config::default(), peer).await.unwrap()
}

fn terms() -> CreateRequest {
    CreateRequest {
        name: "maths".into(),
        licence: "CC-BY-4.0".into(),
        permissioned: true,
        contribution: "curated".into(),
        curators: Vec::new(),
        account: None,
    }
}

#[tokio::test]
async fn what_was_said_is_there_after_a_restart_and_a_former_member_is_given_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let member = SecretKey::from_seed([2; 32]);
    let (secret, node) = (MemberSecret::of_node(&member), NodeId(member.public()));
    let datanets = opened(&home, 1).await;
    let local = datanets.create_owned(terms()).await.unwrap();
    let now = datanets.0.peer.now();

    assert!(!local.knows(node, now), "to a stranger it does not exist");
    let grant = GrantRequest {
        node,
        role: "reader".into(),
        key: None,
        days: 1,
    };
    datanets
        .act(local.id, DatanetVerb::Grant(grant), Some(secret.public()))
        .await
        .unwrap();
    let boxes = local.wrapped_keys(node, protocol::seal::KeyEpoch(0), now);
    assert_eq!(boxes[0].open(&secret).unwrap(), local.sealing().unwrap().key);

    datanets
        .act(local.id, DatanetVerb::Revoke { node }, None)
        .await
        .unwrap();
    assert!(!local.knows(node, now) && local.wrapped_keys(node, protocol::seal::KeyEpoch(0), now).is_empty());
    let (said, key) = (local.registry().statements().count(), local.sealing().unwrap());
    assert_eq!(key.epoch.0, 1, "what comes after is sealed with another key");
    datanets.close().await;
    drop((local, datanets));

    let again = opened(&home, 1).await;
    let local = again.all().remove(0);
    assert_eq!(local.registry().statements().count(), said);
    assert_eq!(local.sealing().unwrap().key, key.key, "the owner's secret is the same");
    again.close().await;
}

#[tokio::test]
async fn only_the_owner_says_who_is_a_member() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let owner = opened(&Home::new(one.path()), 1).await;
    let local = owner.create_owned(terms()).await.unwrap();
    let other = opened(&Home::new(two.path()), 2).await;
    let charter = local.registry().charter().clone();
    other.enter(charter, None).await.unwrap();
    let refused = other
        .act(
            local.id,
            DatanetVerb::Revoke {
                node: owner.0.peer.id(),
            },
            None,
        )
        .await
        .unwrap_err();
    assert!(matches!(refused, DatanetError::Denied(_)), "{refused}");
    let refused = other
        .act(
            local.id,
            DatanetVerb::Bury {
                root: BlobHash([1; 32]),
                why: String::new(),
            },
            None,
        )
        .await;
    assert!(refused.is_err() && other.get(local.id).unwrap().registry().statements().count() == 0);
    // Nothing of it reached the disk either.
    other.close().await;
    drop(other);
    let again = opened(&Home::new(two.path()), 2).await;
    assert_eq!(again.all()[0].registry().statements().count(), 0);
    assert!(again.all()[0].sealing().is_err(), "whoever is no member has no key");
}

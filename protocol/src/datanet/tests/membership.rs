//! Who may read, until when, and with which keys.

use super::*;

#[test]
fn a_member_reads_until_the_grant_expires_and_a_stranger_never() {
    let mut scenario = Scenario::of(Access::Permissioned, Contribution::Curated);
    scenario.grant(ALICE, Role::Reader, LATER);
    let may = |scenario: &Scenario, of, now| scenario.registry.may_read(&node(of), now);
    assert!(may(&scenario, ALICE, NOW) && may(&scenario, OWNER, NOW) && may(&scenario, CURATOR, NOW));
    assert!(!may(&scenario, BOB, NOW));
    assert!(!may(&scenario, ALICE, LATER), "run out");
    assert!(
        Scenario::of(Access::Public, Contribution::Open)
            .registry
            .may_read(&node(BOB), NOW)
    );
}

#[test]
fn a_revocation_starts_an_epoch_whose_key_the_former_member_does_not_get() {
    let mut scenario = Scenario::of(Access::Permissioned, Contribution::Curated);
    scenario.grant(ALICE, Role::Reader, LATER);
    scenario.grant(BOB, Role::Reader, LATER);
    assert_eq!(scenario.registry.epoch(), KeyEpoch(0));
    scenario.revoke(ALICE);
    assert_eq!(scenario.registry.epoch(), KeyEpoch(1));
    assert!(!scenario.registry.may_read(&node(ALICE), NOW));
    assert_eq!(scenario.registry.may_hold(&node(ALICE), KeyEpoch(0), NOW), None);
    let readers: Vec<NodeId> = scenario
        .registry
        .readers(NOW)
        .iter()
        .map(|member| member.node)
        .collect();
    assert_eq!(readers, [node(BOB)]);

    // The answers agree with what the keys open.
    let (secret, id) = (DatanetSecret::new([5; 32]), scenario.registry.id());
    let bob = scenario.registry.may_hold(&node(BOB), KeyEpoch(1), NOW).unwrap();
    let wrapped = WrappedKey::new(&secret.epoch_key(&id, KeyEpoch(1)), id, KeyEpoch(1), &bob.key, [6; 32]).unwrap();
    assert!(wrapped.open(&MemberSecret::of_node(&key(BOB))).is_ok());
    assert!(wrapped.open(&MemberSecret::of_node(&key(ALICE))).is_err());

    // Readmitted, it gets keys from now on only.
    scenario.grant(ALICE, Role::Reader, LATER);
    assert!(scenario.registry.may_read(&node(ALICE), NOW));
    assert_eq!(scenario.registry.may_hold(&node(ALICE), KeyEpoch(0), NOW), None);
    assert!(scenario.registry.may_hold(&node(ALICE), KeyEpoch(1), NOW).is_some());
    assert_eq!(
        scenario.registry.may_hold(&node(ALICE), KeyEpoch(2), NOW),
        None,
        "not begun"
    );
}

#[test]
fn a_revocation_wins_a_tie() {
    let scenario = Scenario::of(Access::Permissioned, Contribution::Curated);
    let key_of = MemberSecret::of_node(&key(ALICE)).public();
    let (subject, epoch) = (node(ALICE), KeyEpoch(0));
    let grant = Grant {
        subject,
        key: key_of,
        role: Role::Reader,
        until: LATER,
        epoch,
    };
    // Two statements with number 1, as after a restored backup.
    let gave = scenario.sign(OWNER, Act::Grant(grant));
    let took = scenario.sign(
        OWNER,
        Act::Revoke {
            subject,
            epoch: KeyEpoch(1),
            last_valid: None,
        },
    );
    for order in [[&gave, &took], [&took, &gave]] {
        let mut registry = scenario.registry.clone();
        registry.insert(order.map(Clone::clone)).unwrap();
        assert!(!registry.may_read(&subject, NOW));
    }
}

#[test]
fn only_the_owner_decides_membership() {
    let mut scenario = Scenario::of(Access::Permissioned, Contribution::Curated);
    let key_of = MemberSecret::of_node(&key(BOB)).public();
    let grant = Grant {
        subject: node(BOB),
        key: key_of,
        role: Role::Reader,
        until: LATER,
        epoch: KeyEpoch(0),
    };
    let by_curator = scenario.sign(CURATOR, Act::Grant(grant));
    assert_eq!(
        scenario.registry.insert([by_curator]),
        Err(InsertError::NotOwner { speaker: node(CURATOR) })
    );

    let mut forged = scenario.sign(BOB, Act::Grant(grant));
    forged.message.speaker = node(OWNER);
    assert_eq!(
        scenario.registry.insert([forged]),
        Err(InsertError::NotSigned { speaker: node(OWNER) })
    );

    let elsewhere = Domain { chain_id: 8, ..HERE };
    let other_chain = Signed::new(
        scenario.registry.next(node(OWNER), NOW, Act::Grant(grant)),
        &key(OWNER),
        &elsewhere,
    );
    assert!(matches!(
        scenario.registry.insert([other_chain]),
        Err(InsertError::NotSigned { .. })
    ));

    let mut other = scenario.sign(OWNER, Act::Grant(grant));
    other.message.datanet = crate::DatanetId([0; 32]);
    assert!(matches!(
        scenario.registry.insert([other]),
        Err(InsertError::OtherDatanet { .. })
    ));
    assert!(!scenario.registry.may_read(&node(BOB), NOW));
}

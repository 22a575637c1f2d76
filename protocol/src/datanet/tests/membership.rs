//! Who reads, until when, and with which keys.

use super::*;

#[test]
fn a_member_reads_until_the_grant_runs_out_and_a_stranger_never() {
    let mut story = Story::of(Access::Permissioned, Contribution::Curated);
    story.grant(ALICE, Role::Reader, LATER);
    let may = |story: &Story, of, now| story.registry.may_read(&node(of), now);
    assert!(may(&story, ALICE, NOW) && may(&story, OWNER, NOW) && may(&story, CURATOR, NOW));
    assert!(!may(&story, BOB, NOW));
    assert!(!may(&story, ALICE, LATER), "run out");
    assert!(
        Story::of(Access::Public, Contribution::Open)
            .registry
            .may_read(&node(BOB), NOW)
    );
}

#[test]
fn a_revocation_begins_an_epoch_whose_key_the_former_member_is_not_given() {
    let mut story = Story::of(Access::Permissioned, Contribution::Curated);
    story.grant(ALICE, Role::Reader, LATER);
    story.grant(BOB, Role::Reader, LATER);
    assert_eq!(story.registry.epoch(), KeyEpoch(0));
    story.revoke(ALICE);
    assert_eq!(story.registry.epoch(), KeyEpoch(1));
    assert!(!story.registry.may_read(&node(ALICE), NOW));
    assert_eq!(story.registry.may_hold(&node(ALICE), KeyEpoch(0), NOW), None);
    let readers: Vec<NodeId> = story.registry.readers(NOW).iter().map(|member| member.node).collect();
    assert_eq!(readers, [node(BOB)]);

    // What the questions say is what the keys do.
    let (secret, id) = (DatanetSecret::new([5; 32]), story.registry.id());
    let bob = story.registry.may_hold(&node(BOB), KeyEpoch(1), NOW).unwrap();
    let wrapped = Wrapped::new(&secret.epoch_key(&id, KeyEpoch(1)), id, KeyEpoch(1), &bob.key, [6; 32]).unwrap();
    assert!(wrapped.open(&MemberSecret::of_node(&key(BOB))).is_ok());
    assert!(wrapped.open(&MemberSecret::of_node(&key(ALICE))).is_err());

    // Taken back in, it is given keys from now on only.
    story.grant(ALICE, Role::Reader, LATER);
    assert!(story.registry.may_read(&node(ALICE), NOW));
    assert_eq!(story.registry.may_hold(&node(ALICE), KeyEpoch(0), NOW), None);
    assert!(story.registry.may_hold(&node(ALICE), KeyEpoch(1), NOW).is_some());
    assert_eq!(
        story.registry.may_hold(&node(ALICE), KeyEpoch(2), NOW),
        None,
        "not begun"
    );
}

#[test]
fn taking_away_wins_a_tie() {
    let story = Story::of(Access::Permissioned, Contribution::Curated);
    let key_of = MemberSecret::of_node(&key(ALICE)).public();
    let (subject, epoch) = (node(ALICE), KeyEpoch(0));
    let grant = Grant {
        subject,
        key: key_of,
        role: Role::Reader,
        until: LATER,
        epoch,
    };
    // Two first statements, as after a restored backup.
    let gave = story.sign(OWNER, Act::Grant(grant));
    let took = story.sign(
        OWNER,
        Act::Revoke {
            subject,
            epoch: KeyEpoch(1),
            stands: None,
        },
    );
    for order in [[&gave, &took], [&took, &gave]] {
        let mut registry = story.registry.clone();
        registry.learn(order.map(Clone::clone)).unwrap();
        assert!(!registry.may_read(&subject, NOW));
    }
}

#[test]
fn only_the_owner_says_who_is_a_member() {
    let mut story = Story::of(Access::Permissioned, Contribution::Curated);
    let key_of = MemberSecret::of_node(&key(BOB)).public();
    let grant = Grant {
        subject: node(BOB),
        key: key_of,
        role: Role::Reader,
        until: LATER,
        epoch: KeyEpoch(0),
    };
    let by_curator = story.sign(CURATOR, Act::Grant(grant));
    assert_eq!(
        story.registry.learn([by_curator]),
        Err(LearnError::NotOwner { speaker: node(CURATOR) })
    );

    let mut forged = story.sign(BOB, Act::Grant(grant));
    forged.message.speaker = node(OWNER);
    assert_eq!(
        story.registry.learn([forged]),
        Err(LearnError::NotSigned { speaker: node(OWNER) })
    );

    let elsewhere = Domain { chain_id: 8, ..HERE };
    let other_chain = Signed::new(
        story.registry.next(node(OWNER), NOW, Act::Grant(grant)),
        &key(OWNER),
        &elsewhere,
    );
    assert!(matches!(
        story.registry.learn([other_chain]),
        Err(LearnError::NotSigned { .. })
    ));

    let mut other = story.sign(OWNER, Act::Grant(grant));
    other.message.datanet = crate::DatanetId([0; 32]);
    assert!(matches!(
        story.registry.learn([other]),
        Err(LearnError::Elsewhere { .. })
    ));
    assert!(!story.registry.may_read(&node(BOB), NOW));
}

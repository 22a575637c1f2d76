//! What is proposed, approved, published, buried and used.

use super::*;

#[test]
fn a_curated_datanet_publishes_what_was_approved() {
    let mut story = Story::of(Access::Public, Contribution::Curated);
    let proposal = story.propose(ALICE, 10);
    story.publish(CURATOR, 1, 10, ALICE, Some(proposal));
    assert!(!story.serves(10), "nobody approved it");
    story.decide(BOB, proposal, true);
    assert!(!story.serves(10), "a stranger approves nothing");
    story.decide(CURATOR, proposal, true);
    assert!(story.serves(10));
    assert_eq!(story.registry.standing(&proposal), Some(Standing::Approved));
    story.publish(BOB, 2, 11, BOB, None);
    assert!(!story.serves(11), "a stranger publishes nothing");
    assert_eq!(story.registry.head().map(|(_, version)| version.number), Some(1));
}

#[test]
fn the_owner_has_the_last_word_and_declined_beats_approved() {
    let mut story = Story::of(Access::Public, Contribution::Curated);
    story.grant(BOB, Role::Curator, LATER);
    let proposal = story.propose(ALICE, 10);
    story.publish(OWNER, 1, 10, ALICE, Some(proposal));
    story.decide(CURATOR, proposal, true);
    story.decide(BOB, proposal, false);
    assert_eq!(
        story.registry.standing(&proposal),
        Some(Standing::Declined { appealed: false })
    );
    story.say(
        ALICE,
        Act::Appeal {
            proposal,
            why: "it is mine".into(),
        },
    );
    assert_eq!(
        story.registry.standing(&proposal),
        Some(Standing::Declined { appealed: true })
    );
    assert!(!story.serves(10));
    story.decide(OWNER, proposal, true);
    assert_eq!(story.registry.standing(&proposal), Some(Standing::Approved));
    assert!(story.serves(10));
    // Nobody takes it back but its contributor, and then nobody approves it.
    story.say(BOB, Act::Withdraw(proposal));
    assert!(story.serves(10));
    story.say(ALICE, Act::Withdraw(proposal));
    assert_eq!(story.registry.standing(&proposal), Some(Standing::Withdrawn));
    assert!(!story.serves(10));
}

#[test]
fn a_proposal_backs_its_own_dataset_and_contributor_only() {
    let mut story = Story::of(Access::Public, Contribution::Open);
    let proposal = story.propose(ALICE, 10);
    story.publish(CURATOR, 1, 11, ALICE, Some(proposal));
    story.publish(CURATOR, 2, 10, BOB, Some(proposal));
    assert!(!story.serves(11) && !story.serves(10));
    story.publish(CURATOR, 3, 10, ALICE, Some(proposal));
    assert!(story.serves(10));
    assert_eq!(story.registry.published()[&root(10)].contributor, node(ALICE));
}

#[test]
fn where_members_contribute_strangers_do_not() {
    let mut story = Story::of(Access::Public, Contribution::Members);
    story.grant(ALICE, Role::Contributor, LATER);
    assert!(story.registry.may_contribute(&node(ALICE), NOW));
    assert!(!story.registry.may_contribute(&node(BOB), NOW) && !story.registry.may_contribute(&node(ALICE), LATER));
    let (hers, his) = (story.propose(ALICE, 10), story.propose(BOB, 11));
    story.publish(CURATOR, 1, 10, ALICE, Some(hers));
    story.publish(CURATOR, 2, 11, BOB, Some(his));
    assert!(story.serves(10) && !story.serves(11));
    // What she gave stays when she is taken out; what she offers afterwards does not count.
    story.revoke(ALICE);
    let after = story.propose(ALICE, 12);
    story.publish(CURATOR, 3, 12, ALICE, Some(after));
    assert!(story.serves(10) && !story.serves(12));
}

#[test]
fn a_dismissed_curator_adds_nothing_under_an_old_date() {
    let mut story = Story::of(Access::Public, Contribution::Curated);
    story.publish(CURATOR, 1, 9, CURATOR, None);
    story.publish(CURATOR, 1, 10, CURATOR, None);
    // Signed before the dismissal is known, numbered like the honest one.
    let entries = vec![Entry {
        root: root(66),
        contributor: node(CURATOR),
        proposal: None,
        epoch: None,
    }];
    let version = Version {
        number: 1,
        previous: None,
        entries,
    };
    let hidden = Statement {
        datanet: story.registry.id(),
        speaker: node(CURATOR),
        number: 1,
        previous: None,
        at: Time(0),
        act: Act::Publish(version),
    };
    story.revoke(CURATOR);
    assert!(!story.registry.may_approve(&node(CURATOR), NOW));
    story
        .registry
        .learn([Signed::new(hidden, &key(CURATOR), &HERE)])
        .unwrap();
    story.publish(CURATOR, 2, 67, CURATOR, None);
    assert!(
        story.serves(9) && story.serves(10),
        "what stood at the dismissal stands"
    );
    assert!(!story.serves(66) && !story.serves(67));
    assert_eq!(story.registry.head().map(|(_, version)| version.number), Some(1));
}

#[test]
fn a_buried_dataset_is_served_in_no_version() {
    let mut story = Story::of(Access::Public, Contribution::Open);
    story.publish(OWNER, 1, 10, OWNER, None);
    story.say(
        BOB,
        Act::Bury {
            root: root(10),
            why: "spite".into(),
        },
    );
    assert!(story.serves(10));
    story.say(
        CURATOR,
        Act::Bury {
            root: root(10),
            why: "personal data".into(),
        },
    );
    story.publish(OWNER, 2, 10, OWNER, None);
    assert!(!story.serves(10) && story.registry.is_buried(&root(10)));
}

#[test]
fn a_permissioned_datanet_serves_nothing_that_is_not_sealed() {
    let mut story = Story::of(Access::Permissioned, Contribution::Curated);
    for (number, epoch) in [(1, None), (2, Some(KeyEpoch(9)))] {
        let entries = vec![Entry {
            root: root(10),
            contributor: node(OWNER),
            proposal: None,
            epoch,
        }];
        story.say(
            OWNER,
            Act::Publish(Version {
                number,
                previous: None,
                entries,
            }),
        );
        assert!(!story.serves(10), "{epoch:?}");
    }
    story.publish(OWNER, 3, 10, OWNER, None);
    assert!(story.serves(10));
}

#[test]
fn a_datanet_takes_only_what_allows_all_that_it_promises() {
    let mut story = Story::of(Access::Public, Contribution::Open);
    let act = Act::Propose {
        root: root(10),
        licence: licence("CC-BY-NC-4.0"),
        account: Account([3; 20]),
    };
    let proposal = story.say(ALICE, act);
    story.decide(OWNER, proposal, true);
    story.publish(OWNER, 1, 10, ALICE, Some(proposal));
    assert_eq!(story.registry.standing(&proposal), Some(Standing::Unlicensed));
    assert!(!story.serves(10));
    let refused = admit_contribution(&licence("CC-BY-4.0"), &licence("CC-BY-NC-4.0")).unwrap_err();
    assert_eq!(refused.wanted, Use::Commercial);
    assert_eq!(
        admit_contribution(&licence("CC-BY-NC-4.0"), &licence("CC-BY-4.0")),
        Ok(())
    );
}

#[test]
fn a_job_needs_membership_publication_and_both_licences() {
    let mut story = Story::of(Access::Permissioned, Contribution::Curated);
    story.grant(ALICE, Role::Reader, LATER);
    story.publish(OWNER, 1, 10, OWNER, None);
    let admit = |who, of, terms: &str| {
        story.registry.admit(
            &node(who),
            NOW,
            &[(root(of), licence(terms))],
            &[Use::Train, Use::Commercial],
        )
    };
    assert_eq!(admit(ALICE, 10, "CC0-1.0"), Ok(()));
    assert_eq!(admit(BOB, 10, "CC0-1.0"), Err(Admission::NotMember));
    assert_eq!(
        admit(ALICE, 11, "CC0-1.0"),
        Err(Admission::NotPublished { root: root(11) })
    );
    assert!(matches!(
        admit(ALICE, 10, "CC-BY-NC-4.0"),
        Err(Admission::Dataset { .. })
    ));
}

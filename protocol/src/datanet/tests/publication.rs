//! Proposals, approvals, publications, tombstones, and use by jobs.

use super::*;

#[test]
fn a_curated_datanet_publishes_what_was_approved() {
    let mut scenario = Scenario::of(Access::Public, Contribution::Curated);
    let proposal = scenario.propose(ALICE, 10);
    scenario.publish(CURATOR, 1, 10, ALICE, Some(proposal));
    assert!(!scenario.serves(10), "nobody approved it");
    scenario.decide(BOB, proposal, true);
    assert!(!scenario.serves(10), "a stranger approves nothing");
    scenario.decide(CURATOR, proposal, true);
    assert!(scenario.serves(10));
    assert_eq!(scenario.registry.status(&proposal), Some(ProposalStatus::Approved));
    scenario.publish(BOB, 2, 11, BOB, None);
    assert!(!scenario.serves(11), "a stranger publishes nothing");
    assert_eq!(scenario.registry.head().map(|(_, version)| version.number), Some(1));
}

#[test]
fn the_owner_overrides_curators_and_declined_overrides_approved() {
    let mut scenario = Scenario::of(Access::Public, Contribution::Curated);
    scenario.grant(BOB, Role::Curator, LATER);
    let proposal = scenario.propose(ALICE, 10);
    scenario.publish(OWNER, 1, 10, ALICE, Some(proposal));
    scenario.decide(CURATOR, proposal, true);
    scenario.decide(BOB, proposal, false);
    assert_eq!(
        scenario.registry.status(&proposal),
        Some(ProposalStatus::Declined { appealed: false })
    );
    scenario.say(
        ALICE,
        Act::Appeal {
            proposal,
            why: "it is mine".into(),
        },
    );
    assert_eq!(
        scenario.registry.status(&proposal),
        Some(ProposalStatus::Declined { appealed: true })
    );
    assert!(!scenario.serves(10));
    scenario.decide(OWNER, proposal, true);
    assert_eq!(scenario.registry.status(&proposal), Some(ProposalStatus::Approved));
    assert!(scenario.serves(10));
    // Only its contributor withdraws it, and nobody can approve it afterwards.
    scenario.say(BOB, Act::Withdraw(proposal));
    assert!(scenario.serves(10));
    scenario.say(ALICE, Act::Withdraw(proposal));
    assert_eq!(scenario.registry.status(&proposal), Some(ProposalStatus::Withdrawn));
    assert!(!scenario.serves(10));
}

#[test]
fn a_proposal_backs_its_own_dataset_and_contributor_only() {
    let mut scenario = Scenario::of(Access::Public, Contribution::Open);
    let proposal = scenario.propose(ALICE, 10);
    scenario.publish(CURATOR, 1, 11, ALICE, Some(proposal));
    scenario.publish(CURATOR, 2, 10, BOB, Some(proposal));
    assert!(!scenario.serves(11) && !scenario.serves(10));
    scenario.publish(CURATOR, 3, 10, ALICE, Some(proposal));
    assert!(scenario.serves(10));
    assert_eq!(scenario.registry.published()[&root(10)].contributor, node(ALICE));
}

#[test]
fn where_members_contribute_strangers_do_not() {
    let mut scenario = Scenario::of(Access::Public, Contribution::Members);
    scenario.grant(ALICE, Role::Contributor, LATER);
    assert!(scenario.registry.may_contribute(&node(ALICE), NOW));
    assert!(
        !scenario.registry.may_contribute(&node(BOB), NOW) && !scenario.registry.may_contribute(&node(ALICE), LATER)
    );
    let (hers, his) = (scenario.propose(ALICE, 10), scenario.propose(BOB, 11));
    scenario.publish(CURATOR, 1, 10, ALICE, Some(hers));
    scenario.publish(CURATOR, 2, 11, BOB, Some(his));
    assert!(scenario.serves(10) && !scenario.serves(11));
    // Her earlier contribution stays when she is removed; later ones do not count.
    scenario.revoke(ALICE);
    let after = scenario.propose(ALICE, 12);
    scenario.publish(CURATOR, 3, 12, ALICE, Some(after));
    assert!(scenario.serves(10) && !scenario.serves(12));
}

#[test]
fn a_removed_curator_cannot_add_backdated_statements() {
    let mut scenario = Scenario::of(Access::Public, Contribution::Curated);
    scenario.publish(CURATOR, 1, 9, CURATOR, None);
    scenario.publish(CURATOR, 1, 10, CURATOR, None);
    // Signed before the removal is known, and numbered like the honest one.
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
        datanet: scenario.registry.id(),
        speaker: node(CURATOR),
        number: 1,
        previous: None,
        at: Time(0),
        act: Act::Publish(version),
    };
    scenario.revoke(CURATOR);
    assert!(!scenario.registry.may_approve(&node(CURATOR), NOW));
    scenario
        .registry
        .insert([Signed::new(hidden, &key(CURATOR), &HERE)])
        .unwrap();
    scenario.publish(CURATOR, 2, 67, CURATOR, None);
    assert!(
        scenario.serves(9) && scenario.serves(10),
        "what stood at the dismissal last_valid"
    );
    assert!(!scenario.serves(66) && !scenario.serves(67));
    assert_eq!(scenario.registry.head().map(|(_, version)| version.number), Some(1));
}

#[test]
fn a_tombstoned_dataset_is_served_in_no_version() {
    let mut scenario = Scenario::of(Access::Public, Contribution::Open);
    scenario.publish(OWNER, 1, 10, OWNER, None);
    scenario.say(
        BOB,
        Act::Bury {
            root: root(10),
            why: "spite".into(),
        },
    );
    assert!(scenario.serves(10));
    scenario.say(
        CURATOR,
        Act::Bury {
            root: root(10),
            why: "personal data".into(),
        },
    );
    scenario.publish(OWNER, 2, 10, OWNER, None);
    assert!(!scenario.serves(10) && scenario.registry.is_buried(&root(10)));
}

#[test]
fn a_permissioned_datanet_serves_sealed_datasets_only() {
    let mut scenario = Scenario::of(Access::Permissioned, Contribution::Curated);
    for (number, epoch) in [(1, None), (2, Some(KeyEpoch(9)))] {
        let entries = vec![Entry {
            root: root(10),
            contributor: node(OWNER),
            proposal: None,
            epoch,
        }];
        scenario.say(
            OWNER,
            Act::Publish(Version {
                number,
                previous: None,
                entries,
            }),
        );
        assert!(!scenario.serves(10), "{epoch:?}");
    }
    scenario.publish(OWNER, 3, 10, OWNER, None);
    assert!(scenario.serves(10));
}

#[test]
fn a_datanet_accepts_only_licences_that_allow_what_its_own_does() {
    let mut scenario = Scenario::of(Access::Public, Contribution::Open);
    let act = Act::Propose {
        root: root(10),
        licence: licence("CC-BY-NC-4.0"),
        account: Account([3; 20]),
    };
    let proposal = scenario.say(ALICE, act);
    scenario.decide(OWNER, proposal, true);
    scenario.publish(OWNER, 1, 10, ALICE, Some(proposal));
    assert_eq!(scenario.registry.status(&proposal), Some(ProposalStatus::Unlicensed));
    assert!(!scenario.serves(10));
    let refused = admit_contribution(&licence("CC-BY-4.0"), &licence("CC-BY-NC-4.0")).unwrap_err();
    assert_eq!(refused.wanted, Use::Commercial);
    assert_eq!(
        admit_contribution(&licence("CC-BY-NC-4.0"), &licence("CC-BY-4.0")),
        Ok(())
    );
}

#[test]
fn a_job_needs_membership_publication_and_both_licences() {
    let mut scenario = Scenario::of(Access::Permissioned, Contribution::Curated);
    scenario.grant(ALICE, Role::Reader, LATER);
    scenario.publish(OWNER, 1, 10, OWNER, None);
    let admit = |who, of, terms: &str| {
        scenario.registry.admit(
            &node(who),
            NOW,
            &[(root(of), licence(terms))],
            &[Use::Train, Use::Commercial],
        )
    };
    assert_eq!(admit(ALICE, 10, "CC0-1.0"), Ok(()));
    assert_eq!(admit(BOB, 10, "CC0-1.0"), Err(AdmissionError::NotMember));
    assert_eq!(
        admit(ALICE, 11, "CC0-1.0"),
        Err(AdmissionError::NotPublished { root: root(11) })
    );
    assert!(matches!(
        admit(ALICE, 10, "CC-BY-NC-4.0"),
        Err(AdmissionError::Dataset { .. })
    ));
}

//! Stories of datanets, and the same statements in every order.

use super::*;
use crate::{
    Account, BlobHash, NodeId, Time,
    crypto::{Domain, SecretKey, Signed, digest},
    licence::{Licence, Use},
    seal::{DatanetSecret, KeyEpoch, MemberSecret, Wrapped},
};

const HERE: Domain = Domain {
    chain_id: 7,
    genesis: [9; 32],
};
const NOW: Time = Time(1_000);
const LATER: Time = Time(9_000);
const OWNER: u8 = 1;
const CURATOR: u8 = 2;
const ALICE: u8 = 3;
const BOB: u8 = 4;

fn key(of: u8) -> SecretKey {
    SecretKey::from_seed([of; 32])
}

fn node(of: u8) -> NodeId {
    NodeId(key(of).public())
}

fn root(of: u8) -> BlobHash {
    BlobHash([of; 32])
}

fn licence(text: &str) -> Licence {
    text.parse().unwrap()
}

/// One datanet under test.
struct Story {
    registry: Registry,
}

impl Story {
    fn of(access: Access, contribution: Contribution) -> Self {
        let charter = Charter {
            name: "birds".into(),
            owner: node(OWNER),
            account: Account([1; 20]),
            curators: vec![node(CURATOR)],
            licence: licence("CC-BY-4.0"),
            schema: None,
            access,
            contribution,
            founded: Time(1),
        };
        let signed = Signed::new(charter, &key(OWNER), &HERE);
        Self {
            registry: Registry::new(signed, &HERE).unwrap(),
        }
    }

    fn sign(&self, by: u8, act: Act) -> Signed<Statement> {
        Signed::new(self.registry.next(node(by), NOW, act), &key(by), &HERE)
    }

    fn say(&mut self, by: u8, act: Act) -> StatementId {
        let said = self.sign(by, act);
        let id = said.message.id();
        assert_eq!(self.registry.learn([said]), Ok(true));
        id
    }

    fn grant(&mut self, subject: u8, role: Role, until: Time) {
        let key = MemberSecret::of_node(&key(subject)).public();
        let epoch = self.registry.epoch();
        self.say(
            OWNER,
            Act::Grant(Grant {
                subject: node(subject),
                key,
                role,
                until,
                epoch,
            }),
        );
    }

    fn revoke(&mut self, subject: u8) {
        let act = self.registry.revocation(node(subject));
        self.say(OWNER, act);
    }

    fn propose(&mut self, by: u8, of: u8) -> StatementId {
        let account = Account([by; 20]);
        self.say(
            by,
            Act::Propose {
                root: root(of),
                licence: licence("CC0-1.0"),
                account,
            },
        )
    }

    fn decide(&mut self, by: u8, proposal: StatementId, approve: bool) {
        self.say(
            by,
            Act::Decide {
                proposal,
                approve,
                why: "so".into(),
            },
        );
    }

    /// Publishes what `contributor` proposed, or what it put in itself.
    fn publish(&mut self, by: u8, number: u64, of: u8, contributor: u8, proposal: Option<StatementId>) -> StatementId {
        let private = self.registry.charter().message.access == Access::Permissioned;
        let entry = Entry {
            root: root(of),
            contributor: node(contributor),
            proposal,
            epoch: private.then(|| self.registry.epoch()),
        };
        let previous = self.registry.head().map(|(id, _)| id);
        self.say(
            by,
            Act::Publish(Version {
                number,
                previous,
                entries: vec![entry],
            }),
        )
    }

    fn serves(&self, of: u8) -> bool {
        self.registry.published().contains_key(&root(of))
    }
}

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
    assert!(story.serves(10), "what stood at the dismissal stands");
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

#[test]
fn what_is_out_of_bounds_is_refused_by_name() {
    let mut story = Story::of(Access::Public, Contribution::Open);
    let long = story.sign(
        OWNER,
        Act::Bury {
            root: root(1),
            why: "x".repeat(TEXT_MAX + 1),
        },
    );
    assert_eq!(
        story.registry.learn([long]),
        Err(StatementError::Text(TEXT_MAX + 1).into())
    );
    let twice = Entry {
        root: root(1),
        contributor: node(OWNER),
        proposal: None,
        epoch: None,
    };
    let version = Version {
        number: 1,
        previous: None,
        entries: vec![twice, twice],
    };
    let twice = story.sign(OWNER, Act::Publish(version));
    assert_eq!(story.registry.learn([twice]), Err(StatementError::Entries(2).into()));
    let mut numbered = story.registry.next(node(OWNER), NOW, Act::Rotate(KeyEpoch(1)));
    numbered.number = 2;
    let numbered = Signed::new(numbered, &key(OWNER), &HERE);
    assert_eq!(story.registry.learn([numbered]), Err(StatementError::Number(2).into()));

    let charter = story.registry.charter().message.clone();
    let bad = |charter: Charter| Registry::new(Signed::new(charter, &key(OWNER), &HERE), &HERE).unwrap_err();
    let nameless = Charter {
        name: String::new(),
        ..charter.clone()
    };
    assert_eq!(bad(nameless), CharterError::Name(0).into());
    let doubled = Charter {
        curators: vec![node(2), node(2)],
        ..charter.clone()
    };
    assert_eq!(bad(doubled), CharterError::Curators(2).into());
    let stolen = Charter {
        owner: node(BOB),
        ..charter
    };
    assert_eq!(bad(stolen), LearnError::NotSigned { speaker: node(BOB) });
}

#[test]
fn names_are_fixed_bytes() {
    // Golden: a datanet and its statements keep their names in every version.
    let story = Story::of(Access::Permissioned, Contribution::Members);
    assert_eq!(
        story.registry.id().to_string(),
        "0x9eb2e4dbbc5c78a7acaabad8ac336fb174b26c5e3f8ee7720f7851913953b2ac"
    );
    let act = Act::Revoke {
        subject: node(ALICE),
        epoch: KeyEpoch(1),
        stands: None,
    };
    let statement = story.registry.next(node(OWNER), NOW, act);
    assert_eq!(
        hex::encode(statement.id().0),
        "484c71af315f05790c29cd0810973b74a6e07328bb9fdc715d2b059072239452"
    );
}

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 += 1;
        let drawn = digest("openledger/test/dice/1", &[&self.0.to_be_bytes()]);
        usize::try_from(u64::from_be_bytes(*drawn.first_chunk().unwrap()) % below as u64).unwrap()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.roll(at + 1));
        }
    }
}

/// Anything that anyone might say, sensible or not.
fn act(story: &Story, dice: &mut Dice, by: u8, proposals: &[StatementId]) -> Act {
    let who = u8::try_from(2 + dice.roll(4)).unwrap();
    let of = u8::try_from(10 + dice.roll(6)).unwrap();
    let proposal = proposals
        .get(dice.roll(proposals.len().max(1)))
        .copied()
        .unwrap_or(StatementId([0; 32]));
    let owners = if by == OWNER { 4 } else { 0 };
    match dice.roll(6 + owners) {
        0 => Act::Propose {
            root: root(of),
            licence: licence("CC0-1.0"),
            account: Account([by; 20]),
        },
        1 => Act::Decide {
            proposal,
            approve: dice.roll(2) == 0,
            why: String::new(),
        },
        2 => Act::Withdraw(proposal),
        3 => Act::Appeal {
            proposal,
            why: String::new(),
        },
        4 => Act::Bury {
            root: root(of),
            why: String::new(),
        },
        5 => {
            let contributor = story
                .registry
                .statement(&proposal)
                .map_or(node(by), |said| said.message.speaker);
            let epoch = Some(KeyEpoch(u32::try_from(dice.roll(3)).unwrap()));
            let entry = Entry {
                root: root(of),
                contributor,
                proposal: (dice.roll(2) == 0).then_some(proposal),
                epoch,
            };
            Act::Publish(Version {
                number: 1 + dice.roll(5) as u64,
                previous: None,
                entries: vec![entry],
            })
        }
        6 => Act::Rotate(story.registry.epoch().next()),
        7 => story.registry.revocation(node(who)),
        _ => Act::Grant(Grant {
            subject: node(who),
            key: MemberSecret::of_node(&key(who)).public(),
            role: [Role::Reader, Role::Contributor, Role::Curator][dice.roll(3)],
            until: Time(dice.roll(3) as u64 * 4_500),
            epoch: story.registry.epoch(),
        }),
    }
}

#[test]
fn the_same_statements_in_any_order_and_in_any_pieces_come_to_the_same() {
    let rounds = std::option_env!("DATANET_ROUNDS")
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(12);
    let policies = [Contribution::Open, Contribution::Curated, Contribution::Members];
    for seed in 0..rounds {
        let mut dice = Dice(seed << 32);
        let mut story = Story::of(Access::Permissioned, policies[dice.roll(3)]);
        let empty = story.registry.clone();
        let mut proposals = Vec::new();
        for _ in 0..60 {
            let by = u8::try_from(1 + dice.roll(4)).unwrap();
            let act = act(&story, &mut dice, by, &proposals);
            let proposes = matches!(act, Act::Propose { .. });
            let id = story.say(by, act);
            proposals.extend(proposes.then_some(id));
        }
        let mut said: Vec<Signed<Statement>> = story.registry.statements().map(|(_, said)| said.clone()).collect();
        for _ in 0..3 {
            dice.shuffle(&mut said);
            let mut other = empty.clone();
            for piece in said.chunks(1 + dice.roll(20)) {
                // Hearing a thing twice is hearing it once.
                other.learn(piece.iter().chain(piece).cloned()).unwrap();
            }
            assert_eq!(other, story.registry, "seed {seed}");
        }
        assert_eq!(story.registry.learn(said), Ok(false), "nothing new");
    }
}

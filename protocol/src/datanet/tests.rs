//! Tests of datanets: permissions, publication, and convergence under every order of statements.

mod membership;
mod orders;
mod publication;

use super::*;
use crate::{
    Account, BlobHash, NodeId, Time,
    crypto::{Domain, SecretKey, Signed, digest},
    licence::{Licence, Use},
    seal::{DatanetSecret, KeyEpoch, MemberSecret, WrappedKey},
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
struct Scenario {
    registry: Registry,
}

impl Scenario {
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
        assert_eq!(self.registry.insert([said]), Ok(true));
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

    /// Publishes what `contributor` proposed, or what it added without a proposal.
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
fn values_out_of_bounds_are_refused_by_field() {
    let mut scenario = Scenario::of(Access::Public, Contribution::Open);
    let long = scenario.sign(
        OWNER,
        Act::Bury {
            root: root(1),
            why: "x".repeat(TEXT_MAX + 1),
        },
    );
    assert_eq!(
        scenario.registry.insert([long]),
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
    let twice = scenario.sign(OWNER, Act::Publish(version));
    assert_eq!(
        scenario.registry.insert([twice]),
        Err(StatementError::Entries(2).into())
    );
    let mut numbered = scenario.registry.next(node(OWNER), NOW, Act::Rotate(KeyEpoch(1)));
    numbered.number = 2;
    let numbered = Signed::new(numbered, &key(OWNER), &HERE);
    assert_eq!(
        scenario.registry.insert([numbered]),
        Err(StatementError::Number(2).into())
    );

    let charter = scenario.registry.charter().message.clone();
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
    assert_eq!(bad(stolen), InsertError::NotSigned { speaker: node(BOB) });
}

#[test]
fn ids_do_not_change_between_versions() {
    // Golden: the ids of a datanet and its statements are the same in every version.
    let scenario = Scenario::of(Access::Permissioned, Contribution::Members);
    assert_eq!(
        scenario.registry.id().to_string(),
        "0x9eb2e4dbbc5c78a7acaabad8ac336fb174b26c5e3f8ee7720f7851913953b2ac"
    );
    let act = Act::Revoke {
        subject: node(ALICE),
        epoch: KeyEpoch(1),
        last_valid: None,
    };
    let statement = scenario.registry.next(node(OWNER), NOW, act);
    assert_eq!(
        hex::encode(statement.id().0),
        "484c71af315f05790c29cd0810973b74a6e07328bb9fdc715d2b059072239452"
    );
}

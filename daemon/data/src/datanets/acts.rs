//! What the operator of this node says in a datanet.

use std::collections::BTreeMap;

use protocol::{
    Account, BlobHash, DatanetId, NodeId, Time,
    crypto::Signed,
    datanet::{
        Access, Act, Charter, Contribution, Entry, Grant, Registry, Role, Standing, Statement, StatementId, Version,
    },
    licence::Licence,
    seal::{Header, KeyEpoch, MemberKey},
};
use serde::{Deserialize, Serialize};

use super::{DatanetError, Datanets, Room};

/// Terms of a datanet that is to be founded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateAsk {
    /// What people call it.
    pub name: String,
    /// What everything in it may at least be used for.
    pub licence: String,
    /// Whether only members read.
    pub permissioned: bool,
    /// `open`, `curated` or `members`.
    pub contribution: String,
    /// Who approves beside the owner.
    pub curators: Vec<NodeId>,
    /// The owner's account.
    pub account: Option<Account>,
}

/// A membership that is to be given.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantAsk {
    /// Whom.
    pub node: NodeId,
    /// `reader`, `contributor` or `curator`.
    pub role: String,
    /// The node's own key in hex; it is asked for if not given.
    pub key: Option<String>,
    /// For how long.
    pub days: u32,
}

/// What is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum DatanetVerb {
    /// Somebody is a member.
    Grant(GrantAsk),
    /// Somebody is no member any more.
    Revoke {
        /// Whom.
        node: NodeId,
    },
    /// A new key, as after a leak.
    Rotate,
    /// A dataset for the datanet.
    Propose {
        /// Its root.
        root: BlobHash,
        /// Its terms.
        licence: String,
        /// Who is paid for it.
        account: Option<Account>,
    },
    /// What to do with a proposal.
    Decide {
        /// Which.
        proposal: BlobHash,
        /// Approved, or declined.
        approve: bool,
        /// Why.
        why: String,
    },
    /// A proposal is taken back.
    Withdraw {
        /// Which.
        proposal: BlobHash,
    },
    /// The owner should look at it.
    Appeal {
        /// Which.
        proposal: BlobHash,
        /// Why.
        why: String,
    },
    /// A version: what was in the one before, what is approved, and these.
    Publish {
        /// What the owner or a curator puts in directly.
        roots: Vec<BlobHash>,
    },
    /// A dataset is served no longer.
    Bury {
        /// Which.
        root: BlobHash,
        /// Why.
        why: String,
    },
}

fn ask(field: &'static str, what: impl ToString) -> DatanetError {
    DatanetError::Ask {
        field,
        what: what.to_string(),
    }
}

fn licence(text: &str) -> Result<Licence, DatanetError> {
    text.parse()
        .map_err(|wrong: protocol::licence::LicenceError| ask("licence", wrong))
}

/// A key as people write it.
pub(super) fn member_key(text: &str) -> Result<MemberKey, DatanetError> {
    let read: Result<BlobHash, _> = text.parse();
    Ok(MemberKey(read.map_err(|wrong| ask("key", wrong))?.0))
}

impl CreateAsk {
    fn charter(self, owner: NodeId, founded: Time) -> Result<Charter, DatanetError> {
        let contribution = match self.contribution.as_str() {
            "open" => Contribution::Open,
            "curated" => Contribution::Curated,
            "members" => Contribution::Members,
            other => {
                return Err(ask(
                    "contribution",
                    format!("`{other}` is none of open, curated and members"),
                ));
            }
        };
        let mut curators = self.curators;
        curators.sort();
        curators.dedup();
        Ok(Charter {
            name: self.name,
            owner,
            account: self.account.unwrap_or_default(),
            curators,
            licence: licence(&self.licence)?,
            schema: None,
            access: if self.permissioned {
                Access::Permissioned
            } else {
                Access::Public
            },
            contribution,
            founded,
        })
    }
}

impl Datanets {
    /// Founds a datanet.
    pub(crate) async fn create(&self, ask: CreateAsk) -> Result<std::sync::Arc<Room>, DatanetError> {
        let charter = ask.charter(self.0.me, self.0.clock.now())?;
        self.found(charter).await
    }

    /// Says something in this node's name. `key` is the member key of a grant that names none.
    pub(crate) async fn act(
        &self,
        id: DatanetId,
        verb: DatanetVerb,
        key: Option<MemberKey>,
    ) -> Result<(StatementId, Signed<Statement>), DatanetError> {
        let room = self.room(id)?;
        let (me, now) = (self.0.me, self.0.clock.now());
        let seals = match &verb {
            DatanetVerb::Publish { roots } => seals(&room, roots).await,
            _ => BTreeMap::new(),
        };
        let act = |registry: &Registry| verb.act(registry, &room, Speaker { me, now, key, seals });
        room.say(me, &self.0.key, &self.0.domain, now, act).await
    }
}

struct Speaker {
    me: NodeId,
    now: Time,
    key: Option<MemberKey>,
    /// Under which key each dataset is sealed.
    seals: BTreeMap<BlobHash, KeyEpoch>,
}

impl DatanetVerb {
    fn act(self, registry: &Registry, room: &Room, speaker: Speaker) -> Result<Act, DatanetError> {
        let (me, now) = (speaker.me, speaker.now);
        let owner = |what: &str| match me == room.charter.owner {
            true => Ok(()),
            false => Err(DatanetError::Denied(format!("only the owner of a datanet {what}"))),
        };
        let curator = |what: &str| match registry.may_approve(&me, now) {
            true => Ok(()),
            false => Err(DatanetError::Denied(format!("only the owner and curators {what}"))),
        };
        Ok(match self {
            Self::Grant(grant) => {
                owner("grants membership")?;
                Act::Grant(grant.grant(registry, speaker.key, now)?)
            }
            Self::Revoke { node } => {
                owner("takes members out")?;
                registry.revocation(node)
            }
            Self::Rotate => {
                owner("changes its key")?;
                Act::Rotate(registry.epoch().next())
            }
            Self::Propose {
                root,
                licence: terms,
                account,
            } => {
                if !registry.may_contribute(&me, now) {
                    let what = "only members contribute to this datanet; ask its owner for a grant as contributor";
                    return Err(DatanetError::Denied(what.to_owned()));
                }
                let (licence, account) = (licence(&terms)?, account.unwrap_or_default());
                protocol::datanet::admit_contribution(&room.charter.licence, &licence)
                    .map_err(|refused| ask("licence", refused))?;
                Act::Propose { root, licence, account }
            }
            Self::Decide { proposal, approve, why } => {
                curator("decide about proposals")?;
                let proposal = proposed(registry, proposal)?;
                if registry.standing(&proposal) == Some(Standing::Withdrawn) {
                    return Err(ask("proposal", "its contributor took it back"));
                }
                Act::Decide { proposal, approve, why }
            }
            Self::Withdraw { proposal } => Act::Withdraw(own(registry, proposal, me)?),
            Self::Appeal { proposal, why } => {
                let proposal = own(registry, proposal, me)?;
                if !matches!(registry.standing(&proposal), Some(Standing::Declined { .. })) {
                    return Err(ask("proposal", "it was not declined"));
                }
                Act::Appeal { proposal, why }
            }
            Self::Publish { roots } => {
                curator("publish versions")?;
                Act::Publish(version(registry, room, &roots, &speaker))
            }
            Self::Bury { root, why } => {
                curator("bury datasets")?;
                Act::Bury { root, why }
            }
        })
    }
}

impl GrantAsk {
    fn grant(&self, registry: &Registry, fetched: Option<MemberKey>, now: Time) -> Result<Grant, DatanetError> {
        let role = match self.role.as_str() {
            "reader" => Role::Reader,
            "contributor" => Role::Contributor,
            "curator" => Role::Curator,
            other => {
                return Err(ask(
                    "role",
                    format!("`{other}` is none of reader, contributor and curator"),
                ));
            }
        };
        let key = match &self.key {
            Some(text) => member_key(text)?,
            None => fetched.ok_or_else(|| {
                ask(
                    "key",
                    "the node does not answer; give its key, which `openledger datanet key` prints there",
                )
            })?,
        };
        Ok(Grant {
            subject: self.node,
            key,
            role,
            until: now.after_ms(u64::from(self.days) * 24 * 60 * 60 * 1000),
            // A new member reads what is published now, so it is given the keys from the first on.
            epoch: first_epoch(registry),
        })
    }
}

/// The first key under which something is published.
fn first_epoch(registry: &Registry) -> KeyEpoch {
    let sealed = registry.published().values().filter_map(|entry| entry.epoch);
    sealed.min().unwrap_or(registry.epoch())
}

fn proposed(registry: &Registry, name: BlobHash) -> Result<StatementId, DatanetError> {
    let id = StatementId(name.0);
    registry.standing(&id).map(|_| id).ok_or_else(|| {
        ask(
            "proposal",
            format!("{name:#} is no proposal that is known here; `openledger datanet show` lists them"),
        )
    })
}

fn own(registry: &Registry, name: BlobHash, me: NodeId) -> Result<StatementId, DatanetError> {
    let id = proposed(registry, name)?;
    let speaker = registry.statement(&id).map(|said| said.message.speaker);
    match speaker == Some(me) {
        true => Ok(id),
        false => Err(DatanetError::Denied(
            "only its contributor takes a proposal back or appeals".to_owned(),
        )),
    }
}

/// The next version: everything of the last, every proposal that counts, and what is put in directly.
fn version(registry: &Registry, room: &Room, roots: &[BlobHash], speaker: &Speaker) -> Version {
    let last = registry.head();
    let mut entries: BTreeMap<BlobHash, Entry> = BTreeMap::new();
    let before = last.iter().flat_map(|(_, version)| &version.entries);
    entries.extend(
        before
            .filter(|entry| registry.published().contains_key(&entry.root))
            .map(|entry| (entry.root, *entry)),
    );
    let epoch = |root: BlobHash| {
        let sealed = speaker.seals.get(&root).copied().unwrap_or(registry.epoch());
        room.is_permissioned().then_some(sealed)
    };
    for (id, standing) in registry.proposals() {
        let counts = match room.charter.contribution {
            Contribution::Curated => *standing == Standing::Approved,
            Contribution::Open | Contribution::Members => {
                matches!(standing, Standing::Approved | Standing::Proposed)
            }
        };
        let said = registry.statement(id).filter(|_| counts).map(|said| &said.message);
        if let Some(Statement {
            speaker: contributor,
            act: Act::Propose { root, .. },
            ..
        }) = said
            && !registry.is_buried(root)
        {
            let entry = Entry {
                root: *root,
                contributor: *contributor,
                proposal: Some(*id),
                epoch: epoch(*root),
            };
            entries.entry(*root).or_insert(entry);
        }
    }
    for root in roots {
        let entry = Entry {
            root: *root,
            contributor: speaker.me,
            proposal: None,
            epoch: epoch(*root),
        };
        entries.entry(*root).or_insert(entry);
    }
    Version {
        number: last.map_or(1, |(_, version)| version.number + 1),
        previous: last.map(|(id, _)| id),
        entries: entries.into_values().collect(),
    }
}

/// Under which key each dataset that is here is sealed: its first shard says.
async fn seals(room: &Room, roots: &[BlobHash]) -> BTreeMap<BlobHash, KeyEpoch> {
    let Some(store) = &room.store else {
        return BTreeMap::new();
    };
    let proposals: Vec<_> = super::view::proposals(room).into_iter().map(|line| line.root).collect();
    let mut seals = BTreeMap::new();
    for root in roots.iter().chain(&proposals) {
        if let Ok(children) = store.children(*root).await
            && let Some(first) = children.first()
            && let Ok(head) = store.read(*first, 0..protocol::seal::HEADER as u64).await
            && let Ok(header) = Header::read(&head)
        {
            seals.insert(*root, header.epoch);
        }
    }
    seals
}

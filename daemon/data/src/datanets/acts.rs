//! What the operator of this node says in a datanet.

use std::collections::BTreeMap;

use protocol::{
    BlobHash, DatanetId, NodeId, Time,
    crypto::Signed,
    datanet::{
        Access, Act, Charter, Contribution, Entry, Grant, ProposalStatus, Registry, Role, Statement, StatementId,
        Version,
    },
    licence::Licence,
    seal::{Header, KeyEpoch, MemberKey},
};

use super::{DatanetError, Datanets, Room};
use base::operator::datanet::{CreateAsk, DatanetVerb, GrantAsk};

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

fn charter(terms: CreateAsk, owner: NodeId, founded: Time) -> Result<Charter, DatanetError> {
    let contribution = match terms.contribution.as_str() {
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
    let mut curators = terms.curators;
    curators.sort();
    curators.dedup();
    Ok(Charter {
        name: terms.name,
        owner,
        account: terms.account.unwrap_or_default(),
        curators,
        licence: licence(&terms.licence)?,
        schema: None,
        access: if terms.permissioned {
            Access::Permissioned
        } else {
            Access::Public
        },
        contribution,
        founded,
    })
}

impl Datanets {
    /// Founds a datanet.
    pub(crate) async fn found(&self, ask: CreateAsk) -> Result<std::sync::Arc<Room>, DatanetError> {
        let charter = charter(ask, self.0.peer.id(), self.0.peer.now())?;
        self.establish(charter).await
    }

    /// Says something in this node's name. `key` is the member key of a grant that names none.
    pub(crate) async fn act(
        &self,
        id: DatanetId,
        verb: DatanetVerb,
        key: Option<MemberKey>,
    ) -> Result<(StatementId, Signed<Statement>), DatanetError> {
        let room = self.room(id)?;
        let (me, now) = (self.0.peer.id(), self.0.peer.now());
        let seals = match &verb {
            DatanetVerb::Publish { roots } => seals(&room, roots).await,
            _ => BTreeMap::new(),
        };
        let act = |registry: &Registry| act_of(verb, registry, &room, Speaker { me, now, key, seals });
        room.say(&self.0.peer, now, act).await
    }
}

struct Speaker {
    me: NodeId,
    now: Time,
    key: Option<MemberKey>,
    /// Under which key each dataset is sealed.
    seals: BTreeMap<BlobHash, KeyEpoch>,
}

/// What a verb comes to as an act, if the speaker may say it.
fn act_of(verb: DatanetVerb, registry: &Registry, room: &Room, speaker: Speaker) -> Result<Act, DatanetError> {
    let (me, now) = (speaker.me, speaker.now);
    let owner = |what: &str| match me == room.charter.owner {
        true => Ok(()),
        false => Err(DatanetError::Denied(format!("only the owner of a datanet {what}"))),
    };
    let curator = |what: &str| match registry.may_approve(&me, now) {
        true => Ok(()),
        false => Err(DatanetError::Denied(format!("only the owner and curators {what}"))),
    };
    Ok(match verb {
        DatanetVerb::Grant(grant) => {
            owner("grants membership")?;
            Act::Grant(membership(&grant, registry, speaker.key, now)?)
        }
        DatanetVerb::Revoke { node } => {
            owner("takes members out")?;
            registry.revocation(node)
        }
        DatanetVerb::Rotate => {
            owner("changes its key")?;
            Act::Rotate(registry.epoch().next())
        }
        DatanetVerb::Propose {
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
        DatanetVerb::Decide { proposal, approve, why } => {
            curator("decide about proposals")?;
            let proposal = proposed(registry, proposal)?;
            if registry.status(&proposal) == Some(ProposalStatus::Withdrawn) {
                return Err(ask("proposal", "its contributor took it back"));
            }
            Act::Decide { proposal, approve, why }
        }
        DatanetVerb::Withdraw { proposal } => Act::Withdraw(own(registry, proposal, me)?),
        DatanetVerb::Appeal { proposal, why } => {
            let proposal = own(registry, proposal, me)?;
            if !matches!(registry.status(&proposal), Some(ProposalStatus::Declined { .. })) {
                return Err(ask("proposal", "it was not declined"));
            }
            Act::Appeal { proposal, why }
        }
        DatanetVerb::Publish { roots } => {
            curator("publish versions")?;
            Act::Publish(version(registry, room, &roots, &speaker))
        }
        DatanetVerb::Bury { root, why } => {
            curator("bury datasets")?;
            Act::Bury { root, why }
        }
    })
}

fn membership(
    grant: &GrantAsk,
    registry: &Registry,
    fetched: Option<MemberKey>,
    now: Time,
) -> Result<Grant, DatanetError> {
    let role = match grant.role.as_str() {
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
    let key = match &grant.key {
        Some(text) => member_key(text)?,
        None => fetched.ok_or_else(|| {
            ask(
                "key",
                "the node does not answer; give its key, which `openledger datanet key` prints there",
            )
        })?,
    };
    Ok(Grant {
        subject: grant.node,
        key,
        role,
        until: now.after_ms(u64::from(grant.days) * 24 * 60 * 60 * 1000),
        // A new member reads what is published now, so it is given the keys from the first on.
        epoch: first_epoch(registry),
    })
}

/// The first key under which something is published.
fn first_epoch(registry: &Registry) -> KeyEpoch {
    let sealed = registry.published().values().filter_map(|entry| entry.epoch);
    sealed.min().unwrap_or(registry.epoch())
}

fn proposed(registry: &Registry, name: BlobHash) -> Result<StatementId, DatanetError> {
    let id = StatementId(name.0);
    registry.status(&id).map(|_| id).ok_or_else(|| {
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
            Contribution::Curated => *standing == ProposalStatus::Approved,
            Contribution::Open | Contribution::Members => {
                matches!(standing, ProposalStatus::Approved | ProposalStatus::Proposed)
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

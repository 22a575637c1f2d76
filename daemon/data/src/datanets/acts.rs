//! Statements that the operator of this node makes in a datanet: checks the right to make them, and builds them.

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

use super::{DatanetError, Datanets, LocalDatanet};
use base::{
    argument::InvalidArgument,
    operator::datanet::{CreateRequest, DatanetVerb, GrantRequest},
};

fn invalid(field: &'static str, what: impl ToString) -> DatanetError {
    InvalidArgument::new(field, what).into()
}

fn licence(text: &str) -> Result<Licence, DatanetError> {
    text.parse()
        .map_err(|wrong: protocol::licence::LicenceError| invalid("licence", wrong))
}

/// Parses a member key, 0x and 64 hex digits.
pub(super) fn member_key(text: &str) -> Result<MemberKey, DatanetError> {
    let read: Result<BlobHash, _> = text.parse();
    Ok(MemberKey(read.map_err(|wrong| invalid("key", wrong))?.0))
}

fn charter(terms: CreateRequest, owner: NodeId, founded: Time) -> Result<Charter, DatanetError> {
    let contribution = match terms.contribution.as_str() {
        "open" => Contribution::Open,
        "curated" => Contribution::Curated,
        "members" => Contribution::Members,
        other => {
            return Err(invalid(
                "contribution",
                format!("`{other}` is not one of open, curated and members"),
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
    /// Creates a datanet that this node owns.
    pub(crate) async fn create_owned(&self, ask: CreateRequest) -> Result<std::sync::Arc<LocalDatanet>, DatanetError> {
        let charter = charter(ask, self.0.peer.id(), self.0.peer.now())?;
        self.establish(charter).await
    }

    /// Makes a statement in this node's name. `key` is the member key for a grant that has none.
    pub(crate) async fn act(
        &self,
        id: DatanetId,
        verb: DatanetVerb,
        key: Option<MemberKey>,
    ) -> Result<(StatementId, Signed<Statement>), DatanetError> {
        let local = self.get(id)?;
        let (me, now) = (self.0.peer.id(), self.0.peer.now());
        let seals = match &verb {
            DatanetVerb::Publish { roots } => seals(&local, roots).await,
            _ => BTreeMap::new(),
        };
        let act = |registry: &Registry| act_of(verb, registry, &local, Speaker { me, now, key, seals });
        local.say(&self.0.peer, now, act).await
    }
}

struct Speaker {
    me: NodeId,
    now: Time,
    key: Option<MemberKey>,
    /// The key number with which each dataset is sealed.
    seals: BTreeMap<BlobHash, KeyEpoch>,
}

/// Turns a verb into an act, if the speaker has the right to it.
fn act_of(verb: DatanetVerb, registry: &Registry, local: &LocalDatanet, speaker: Speaker) -> Result<Act, DatanetError> {
    let (me, now) = (speaker.me, speaker.now);
    let owner = |what: &str| match me == local.charter.owner {
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
            owner("removes members")?;
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
            protocol::datanet::admit_contribution(&local.charter.licence, &licence)
                .map_err(|refused| invalid("licence", refused))?;
            Act::Propose { root, licence, account }
        }
        DatanetVerb::Decide { proposal, approve, why } => {
            curator("decide about proposals")?;
            let proposal = proposed(registry, proposal)?;
            if registry.status(&proposal) == Some(ProposalStatus::Withdrawn) {
                return Err(invalid("proposal", "its contributor has withdrawn it"));
            }
            Act::Decide { proposal, approve, why }
        }
        DatanetVerb::Withdraw { proposal } => Act::Withdraw(own(registry, proposal, me)?),
        DatanetVerb::Appeal { proposal, why } => {
            let proposal = own(registry, proposal, me)?;
            if !matches!(registry.status(&proposal), Some(ProposalStatus::Declined { .. })) {
                return Err(invalid("proposal", "it was not declined"));
            }
            Act::Appeal { proposal, why }
        }
        DatanetVerb::Publish { roots } => {
            curator("publish versions")?;
            Act::Publish(version(registry, local, &roots, &speaker))
        }
        DatanetVerb::Bury { root, why } => {
            curator("bury datasets")?;
            Act::Bury { root, why }
        }
    })
}

fn membership(
    grant: &GrantRequest,
    registry: &Registry,
    fetched: Option<MemberKey>,
    now: Time,
) -> Result<Grant, DatanetError> {
    let role = match grant.role.as_str() {
        "reader" => Role::Reader,
        "contributor" => Role::Contributor,
        "curator" => Role::Curator,
        other => {
            return Err(invalid(
                "role",
                format!("`{other}` is not one of reader, contributor and curator"),
            ));
        }
    };
    let key = match &grant.key {
        Some(text) => member_key(text)?,
        None => fetched.ok_or_else(|| {
            invalid(
                "key",
                "the node does not reply; give its key, which `openledger datanet key` prints on that node",
            )
        })?,
    };
    Ok(Grant {
        subject: grant.node,
        key,
        role,
        until: now.after_ms(u64::from(grant.days) * 24 * 60 * 60 * 1000),
        // A new member may read everything that is published now, so it gets all keys from the first one in use.
        epoch: first_epoch(registry),
    })
}

/// The oldest key with which a published dataset is sealed.
fn first_epoch(registry: &Registry) -> KeyEpoch {
    let sealed = registry.published().values().filter_map(|entry| entry.epoch);
    sealed.min().unwrap_or(registry.epoch())
}

fn proposed(registry: &Registry, name: BlobHash) -> Result<StatementId, DatanetError> {
    let id = StatementId(name.0);
    registry.status(&id).map(|_| id).ok_or_else(|| {
        invalid(
            "proposal",
            format!("{name:#} is not a known proposal; `openledger datanet show` lists the proposals"),
        )
    })
}

fn own(registry: &Registry, name: BlobHash, me: NodeId) -> Result<StatementId, DatanetError> {
    let id = proposed(registry, name)?;
    let speaker = registry.statement(&id).map(|said| said.message.speaker);
    match speaker == Some(me) {
        true => Ok(id),
        false => Err(DatanetError::Denied(
            "only the contributor of a proposal may withdraw it or appeal".to_owned(),
        )),
    }
}

/// Builds the next version: the datasets of the last one, all accepted proposals, and the given roots.
fn version(registry: &Registry, local: &LocalDatanet, roots: &[BlobHash], speaker: &Speaker) -> Version {
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
        local.is_permissioned().then_some(sealed)
    };
    for (id, standing) in registry.proposals() {
        let counts = match local.charter.contribution {
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

/// Reads the key number of each dataset in the local store from the header of its first shard.
async fn seals(local: &LocalDatanet, roots: &[BlobHash]) -> BTreeMap<BlobHash, KeyEpoch> {
    let Some(store) = &local.store else {
        return BTreeMap::new();
    };
    let proposals: Vec<_> = super::view::proposals(local)
        .into_iter()
        .map(|line| line.root)
        .collect();
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

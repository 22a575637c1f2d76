//! The terms a datanet is founded on. Its name is their digest, so they never change.

use bincode::{Decode, Encode};

use crate::{
    Account, BlobHash, DatanetId, NodeId, Time,
    crypto::{Domain, Preimage, digest},
    licence::{Licence, LicenceError},
    preimage::{Spoken, Writer},
};

/// Longest name, in bytes.
pub const NAME_MAX: usize = 128;
/// Most curators that a charter names; grants add more.
pub const CURATORS_MAX: usize = 64;

/// Founding terms.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Charter {
    /// What people call it.
    pub name: String,
    /// The node that speaks for it.
    pub owner: NodeId,
    /// The owner's account on the chain.
    pub account: Account,
    /// Who may approve and publish from the start, in order, each once.
    pub curators: Vec<NodeId>,
    /// What everything in it may at least be used for.
    pub licence: Licence,
    /// The blob that says what its records look like, if they have to look alike.
    pub schema: Option<BlobHash>,
    /// Who may read.
    pub access: Access,
    /// Who may add.
    pub contribution: Contribution,
    /// When, as the owner says: an owner founds two datanets of one name by this.
    pub founded: Time,
}

/// Who may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Access {
    /// Everybody.
    Public,
    /// Members, and its shards are sealed.
    Permissioned,
}

/// Who may add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Contribution {
    /// Everybody, and it counts until a curator declines it.
    Open,
    /// Everybody, and it counts once a curator approves it.
    Curated,
    /// Whoever was granted to contribute, and it counts until a curator declines it.
    Members,
}

/// Why founding terms are no good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CharterError {
    /// Too long, or nothing.
    #[error("a name of {0} bytes; write 1 to {NAME_MAX}")]
    Name(usize),
    /// Too many, or not in order.
    #[error("{0} curators out of order or more than {CURATORS_MAX}; name each once, in the order of their ids")]
    Curators(usize),
    /// Not one that rules are known for.
    #[error("the licence of the datanet is not known")]
    Licence(#[source] LicenceError),
}

impl Charter {
    /// Whether the terms are within bounds and mean something.
    pub fn check(&self) -> Result<(), CharterError> {
        if self.name.is_empty() || self.name.len() > NAME_MAX {
            return Err(CharterError::Name(self.name.len()));
        }
        let ordered = self.curators.windows(2).all(|pair| pair[0] < pair[1]);
        if !ordered || self.curators.len() > CURATORS_MAX {
            return Err(CharterError::Curators(self.curators.len()));
        }
        self.licence.check().map_err(CharterError::Licence)
    }

    /// The name of the datanet: the digest of all of it.
    pub fn id(&self) -> DatanetId {
        DatanetId(digest("openledger/datanet/1", &[&self.write(Writer::bare()).done()]))
    }

    fn write(&self, writer: Writer) -> Writer {
        writer
            .bytes(self.name.as_bytes())
            .fixed(&self.owner.0)
            .fixed(&self.account.0)
            .list(&self.curators, |writer, curator| writer.fixed(&curator.0))
            .bytes(self.licence.to_string().as_bytes())
            .maybe(self.schema.as_ref().map(|schema| &schema.0))
            .tag(match self.access {
                Access::Public => 0,
                Access::Permissioned => 1,
            })
            .tag(match self.contribution {
                Contribution::Open => 0,
                Contribution::Curated => 1,
                Contribution::Members => 2,
            })
            .u64(self.founded.0)
    }
}

impl Preimage for Charter {
    /// `"openledger/charter/1" ‖ chain ‖ name ‖ owner ‖ account ‖ curators ‖ licence ‖ schema ‖ access ‖ contribution ‖ founded`.
    fn preimage(&self, domain: &Domain) -> Vec<u8> {
        self.write(Writer::new("openledger/charter/1", domain)).done()
    }
}

impl Spoken for Charter {
    fn speaker(&self) -> NodeId {
        self.owner
    }
}

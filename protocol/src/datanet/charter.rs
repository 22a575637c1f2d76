//! The charter: the founding terms of a datanet. The datanet's id is their digest, so they never change.

use bincode::{Decode, Encode};

use crate::{
    Account, BlobHash, DatanetId, NodeId, Time,
    crypto::{Domain, Preimage, digest},
    licence::{Licence, LicenceError},
    preimage::{Authored, Writer},
};

/// Longest name, in bytes.
pub const NAME_MAX: usize = 128;
/// Most curators in a charter. Grants can add more.
pub const CURATORS_MAX: usize = 64;

/// The founding terms of a datanet, signed by its owner.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Charter {
    /// The name for people.
    pub name: String,
    /// The node that grants and revokes membership.
    pub owner: NodeId,
    /// The owner's account on the chain.
    pub account: Account,
    /// The first curators, in ascending order and without duplicates.
    pub curators: Vec<NodeId>,
    /// The least that every dataset in it must allow.
    pub licence: Licence,
    /// The blob of the required schema, if records must have one.
    pub schema: Option<BlobHash>,
    pub access: Access,
    pub contribution: Contribution,
    /// Time of founding, as stated by the owner. Distinguishes datanets of one owner and name.
    pub founded: Time,
}

/// The access policy: who may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Access {
    Public,
    /// Members only; the shards are sealed.
    Permissioned,
}

/// The contribution policy: who may propose, and when a proposal takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Contribution {
    /// Anyone; effective until a curator declines it.
    Open,
    /// Anyone; effective once a curator approves it.
    Curated,
    /// Nodes with a contributor grant; effective until a curator declines it.
    Members,
}

/// Error of invalid founding terms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CharterError {
    #[error("a name of {0} bytes; write 1 to {NAME_MAX}")]
    Name(usize),
    #[error("{0} curators out of order or more than {CURATORS_MAX}; name each once, in the order of their ids")]
    Curators(usize),
    #[error("the licence of the datanet is not known")]
    Licence(#[source] LicenceError),
}

impl Charter {
    /// Checks the terms against their bounds, and the licence.
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

    /// Returns the datanet's id: the digest of the terms.
    pub fn id(&self) -> DatanetId {
        DatanetId(digest("openledger/datanet/1", &[&self.write(Writer::bare()).finish()]))
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
        self.write(Writer::new("openledger/charter/1", domain)).finish()
    }
}

impl Authored for Charter {
    fn author(&self) -> NodeId {
        self.owner
    }
}

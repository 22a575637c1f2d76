//! Datanets off the chain: ownership, membership, contributions and published versions.
//!
//! Everything that happens in a datanet is a signed [`Statement`]. A [`Registry`] holds a set of statements, and every query
//! is a function of that set: nodes that have the same statements agree, in whatever order they arrived (a CRDT). Three
//! rules make that safe:
//!
//! - **The owner alone decides membership**, in the order of the owner's own statement numbers: a grant is valid unless the
//!   owner revoked its subject under the same or a later number. A revocation wins a tie.
//! - **A curator's statements form a chain**, each naming the previous one. A revocation names the last valid statement of
//!   the chain, so a removed curator cannot add backdated statements.
//! - **On conflict the restrictive statement wins**: the owner over curators, "declined" over "approved", a tombstone over a
//!   publication.
//!
//! The chain uses the same types. It pays the accounts named in charter and proposals, and the owner registered there is the
//! owner here.

mod admission;
mod charter;
mod membership;
mod registry;
mod statement;
#[cfg(test)]
mod tests;
mod version;
mod view;

pub use admission::{AdmissionError, LicenceConflict, admit_contribution};
pub use charter::{Access, CURATORS_MAX, Charter, CharterError, Contribution, NAME_MAX};
pub use membership::{Grant, Member, Role};
pub use registry::{InsertError, Registry, STATEMENTS_MAX};
pub use statement::{Act, STATEMENT_MAX, Statement, StatementError, StatementId, TEXT_MAX};
pub use version::{ENTRIES_MAX, Entry, ProposalStatus, Version};

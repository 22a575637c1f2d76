//! Datanets off the chain: who owns one, who may read, add and approve, and what it has published.
//!
//! Everything that happens in a datanet is a signed [`Statement`]. A [`Registry`] holds the set of them and nothing else:
//! each answer is a function of that set, so nodes that heard the same statements, in whatever order, agree. Three rules
//! make that safe:
//!
//! - **Membership is the owner's alone**, and goes by the owner's own numbering: a grant stands unless the owner took its
//!   subject out under the same number or a later one. Taking away wins a tie.
//! - **A curator's statements are a chain**, each naming the one before. Whoever dismisses a curator names the last
//!   statement that stands, so a dismissed curator adds nothing under an old date.
//! - **Where two disagree, the careful answer wins**: the owner over curators, "declined" over "approved", a tombstone over
//!   a publication.
//!
//! The chain drives the same types; it pays the accounts that charter and proposals name, and who owns a datanet there
//! speaks for it here.

mod admission;
mod charter;
mod membership;
mod registry;
mod statement;
#[cfg(test)]
mod tests;
mod version;
mod view;

pub use admission::{Admission, Promise, admit_contribution};
pub use charter::{Access, CURATORS_MAX, Charter, CharterError, Contribution, NAME_MAX};
pub use membership::{Grant, Member, Role};
pub use registry::{LearnError, Registry, STATEMENTS_MAX};
pub use statement::{Act, STATEMENT_MAX, Statement, StatementError, StatementId, TEXT_MAX};
pub use version::{ENTRIES_MAX, Entry, Standing, Version};

//! Admission by licence: of a dataset into a datanet, and of a job to the data.

use crate::{
    BlobHash,
    licence::{Licence, Refusal, USES, Use},
};

/// The reason that a job may not use a datanet's data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// Never a member, or no longer one.
    #[error("the requester is no member of this datanet; its owner can grant membership")]
    NotMember,
    /// Never published, or tombstoned.
    #[error("dataset {root:#} is not published in this datanet")]
    NotPublished { root: BlobHash },
    /// The datanet's licence forbids the use.
    #[error("the licence of the datanet says no")]
    Datanet(#[source] Refusal),
    /// The dataset's own licence forbids the use.
    #[error("the licence of dataset {root:#} says no")]
    Dataset {
        root: BlobHash,
        #[source]
        refusal: Refusal,
    },
}

/// A dataset's licence that allows less than the datanet's licence promises to everyone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the datanet promises `{promised}`, which lets everybody {wanted}; the dataset does not")]
pub struct LicenceConflict {
    /// The datanet's licence.
    pub promised: String,
    /// The use that the datanet promises and the dataset does not allow.
    pub wanted: Use,
    #[source]
    pub refusal: Refusal,
}

/// Checks that a dataset under `own` licence may enter a datanet under `datanet` licence: it must allow all that the
/// datanet's licence allows.
///
/// ```
/// use protocol::datanet::admit_contribution;
///
/// let datanet = "CC-BY-4.0".parse().unwrap();
/// assert!(admit_contribution(&datanet, &"CC0-1.0".parse().unwrap()).is_ok());
/// assert!(admit_contribution(&datanet, &"CC-BY-NC-4.0".parse().unwrap()).is_err(), "forbids commercial use");
/// ```
pub fn admit_contribution(datanet: &Licence, own: &Licence) -> Result<(), LicenceConflict> {
    for wanted in USES {
        if datanet.permits(wanted).is_err() {
            continue;
        }
        own.permits(wanted).map_err(|refusal| LicenceConflict {
            promised: datanet.to_string(),
            wanted,
            refusal,
        })?;
    }
    Ok(())
}

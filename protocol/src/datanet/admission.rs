//! Whether a licence lets something in: a dataset into a datanet, a job at the data.

use crate::{
    BlobHash,
    licence::{Licence, Refusal, USES, Use},
};

/// Why a job may not use a datanet's data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Admission {
    /// Not a member, or no longer.
    #[error("the requester is no member of this datanet; its owner can grant membership")]
    NotMember,
    /// The datanet does not have it, or buried it.
    #[error("dataset {root:#} is not published in this datanet")]
    NotPublished {
        /// Which.
        root: BlobHash,
    },
    /// The datanet's terms say no.
    #[error("the licence of the datanet says no")]
    Datanet(#[source] Refusal),
    /// The dataset's own terms say no.
    #[error("the licence of dataset {root:#} says no")]
    Dataset {
        /// Which.
        root: BlobHash,
        /// What it says.
        #[source]
        refusal: Refusal,
    },
}

/// A dataset that allows less than the datanet promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the datanet promises `{promised}`, which lets everybody {wanted}; the dataset does not")]
pub struct Promise {
    /// The datanet's licence.
    pub promised: String,
    /// What is promised and not allowed.
    pub wanted: Use,
    /// Why the dataset does not allow it.
    #[source]
    pub refusal: Refusal,
}

/// Whether a dataset under `own` terms may come into a datanet under `datanet` terms: it has to allow all that those promise.
pub fn admit_contribution(datanet: &Licence, own: &Licence) -> Result<(), Promise> {
    for wanted in USES {
        if datanet.permits(wanted).is_err() {
            continue;
        }
        own.permits(wanted).map_err(|refusal| Promise {
            promised: datanet.to_string(),
            wanted,
            refusal,
        })?;
    }
    Ok(())
}

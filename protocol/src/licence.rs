//! Dataset licences, and the uses that they permit.
//!
//! A licence is an SPDX expression (`CC-BY-4.0`, `MIT OR Apache-2.0`) or custom terms with the hash of their text. Jobs are
//! admitted by [`Licence::permits`], so an unknown identifier is refused when the manifest is made, not when the data is
//! used. The rules err on the restrictive side and are not legal advice: for a use that a licence does not clearly allow,
//! the owner can grant it with custom terms.

use std::{fmt, str::FromStr};

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use spdx::{Expression, LicenseId, LicenseItem, LicenseReq};

use crate::BlobHash;

/// Longest SPDX expression or custom name, in bytes.
pub const LICENCE_MAX: usize = 256;

/// The licence of a dataset. Text form: an SPDX expression, or `custom:NAME:0xHASH:train+commercial`.
///
/// ```
/// use protocol::licence::{Licence, Use};
///
/// let licence: Licence = "CC-BY-NC-4.0".parse().unwrap();
/// assert!(licence.permits(Use::Train).is_ok());
/// assert!(licence.permits(Use::Commercial).is_err());
/// assert!("CC-BY-9".parse::<Licence>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Licence {
    /// An SPDX expression, as the owner wrote it.
    Spdx(String),
    /// Terms that are not on the SPDX list.
    Custom(Terms),
}

/// Custom terms, written `custom:NAME:0xHASH:train+commercial`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Terms {
    pub name: String,
    /// Hash of the text that people read.
    pub text: BlobHash,
    /// The permitted uses, in ascending order and without duplicates.
    pub allows: Vec<Use>,
}

/// A use of data that a licence permits or forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// Train a model on it.
    Train,
    /// Pass it on unchanged: pin it, serve it.
    Redistribute,
    /// Earn money with the result.
    Commercial,
}

/// All uses, in the order of [`Use`].
pub const USES: [Use; 3] = [Use::Train, Use::Redistribute, Use::Commercial];

/// The reason that a licence does not permit a use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The terms exclude the use.
    #[error("`{licence}` does not allow to {wanted}: {why}")]
    Forbidden {
        licence: String,
        wanted: Use,
        /// The clause that excludes it.
        why: &'static str,
    },
    /// SPDX lists the licence, but this module has no rule for it.
    #[error("nothing is recorded about whether `{licence}` allows to {wanted}; its owner can say so with custom terms")]
    Unstated { licence: String, wanted: Use },
}

/// Error of parsing or checking a licence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LicenceError {
    #[error("`{unknown}` is no SPDX licence{}", suggestion.as_ref().map(|s| format!("; did you mean `{s}`?"))
        .unwrap_or_else(|| "; write one such as CC-BY-4.0, or custom:NAME:0xHASH:train+redistribute+commercial".into()))]
    Unknown {
        unknown: String,
        /// The nearest SPDX identifier, if one is near.
        suggestion: Option<String>,
    },
    /// Known identifiers, combined in an invalid way.
    #[error("`{text}` is no SPDX expression: {why}")]
    Malformed { text: String, why: String },
    #[error(
        "`{0}` is not of the form custom:NAME:0xHASH:train+redistribute+commercial (leave out what is not allowed)"
    )]
    Custom(String),
    #[error("{0} bytes where 1 to {LICENCE_MAX} are allowed")]
    Length(usize),
}

impl Licence {
    /// Checks that the terms are valid: known SPDX identifiers, or custom terms with a plain name and ordered uses.
    pub fn check(&self) -> Result<(), LicenceError> {
        let length = match self {
            Self::Spdx(text) => text.len(),
            Self::Custom(terms) => terms.name.len(),
        };
        if length == 0 || length > LICENCE_MAX {
            return Err(LicenceError::Length(length));
        }
        match self {
            Self::Spdx(text) => parse(text).map(drop),
            Self::Custom(terms) => {
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
                let ordered = terms.allows.windows(2).all(|pair| pair[0] < pair[1]);
                if ordered && terms.name.chars().all(plain) {
                    Ok(())
                } else {
                    Err(LicenceError::Custom(self.to_string()))
                }
            }
        }
    }

    /// Checks that the terms allow `wanted`. `A OR B` allows what either allows, `A AND B` what both allow.
    ///
    /// An unknown licence is refused: what is not clearly allowed is not allowed.
    pub fn permits(&self, wanted: Use) -> Result<(), Refusal> {
        let text = match self {
            Self::Custom(terms) if terms.allows.contains(&wanted) => return Ok(()),
            Self::Custom(_) => {
                return Err(Refusal::Forbidden {
                    licence: self.to_string(),
                    wanted,
                    why: "it is not among the uses that the terms name",
                });
            }
            Self::Spdx(text) => text,
        };
        let unstated = || Refusal::Unstated {
            licence: text.clone(),
            wanted,
        };
        let expression = parse(text).map_err(|_| unstated())?;
        let mut first = None;
        let allowed = expression.evaluate(|req| match stance(req, wanted) {
            Stance::Allows => true,
            no => {
                first.get_or_insert((req.to_string(), no));
                false
            }
        });
        if allowed {
            return Ok(());
        }
        Err(match first {
            Some((licence, Stance::Forbids(why))) => Refusal::Forbidden { licence, wanted, why },
            _ => unstated(),
        })
    }
}

enum Stance {
    Allows,
    Forbids(&'static str),
    Silent,
}

fn stance(req: &LicenseReq, wanted: Use) -> Stance {
    let LicenseItem::Spdx { id, .. } = &req.license else {
        return Stance::Silent;
    };
    let part = |part: &str| id.name.split('-').any(|found| found == part);
    if id.name.starts_with("CC-") {
        return match wanted {
            Use::Commercial if part("NC") => Stance::Forbids("NC keeps commercial use to the licensor"),
            // It is disputed whether a model is an adaptation. A licensor who chose ND expects the restrictive
            // reading.
            Use::Train if part("ND") => Stance::Forbids("ND keeps adaptations to the licensor, and a model may be one"),
            Use::Train | Use::Redistribute | Use::Commercial => Stance::Allows,
        };
    }
    match id.name {
        "C-UDA-1.0" => match wanted {
            Use::Train | Use::Redistribute | Use::Commercial => Stance::Allows,
        },
        name if OPEN.contains(&name) => Stance::Allows,
        // Both definitions rule out limits on who uses a work and for what.
        _ if id.is_osi_approved() || id.is_fsf_free_libre() => Stance::Allows,
        _ => Stance::Silent,
    }
}

/// Data and document licences that allow every use and that neither OSI nor FSF has reviewed.
const OPEN: [&str; 12] = [
    "CC0-1.0",
    "CC-PDDC",
    "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0",
    "CDLA-Sharing-1.0",
    "DL-DE-BY-2.0",
    "DL-DE-ZERO-2.0",
    "etalab-2.0",
    "ODbL-1.0",
    "ODC-By-1.0",
    "OGL-UK-3.0",
    "PDDL-1.0",
];

fn parse(text: &str) -> Result<Expression, LicenceError> {
    let error = match Expression::parse(text) {
        Ok(expression) => {
            let own = expression.requirements().find(|part| part.req.license.id().is_none());
            let own = own.map(|part| part.req.to_string());
            return own.map_or(Ok(expression), |reference| Err(LicenceError::Custom(reference)));
        }
        Err(error) => error,
    };
    let unknown = text.get(error.span.clone()).unwrap_or(text);
    use spdx::error::Reason;
    match error.reason {
        Reason::UnknownLicense | Reason::UnknownTerm | Reason::DeprecatedLicenseId | Reason::InvalidCharacters => {
            Err(LicenceError::Unknown {
                unknown: unknown.to_owned(),
                suggestion: suggest(unknown),
            })
        }
        reason => Err(LicenceError::Malformed {
            text: text.to_owned(),
            why: reason.to_string(),
        }),
    }
}

/// Returns the identifier that was probably meant: a common spelling of one, or the nearest by edit distance.
fn suggest(unknown: &str) -> Option<String> {
    let lower = unknown.to_ascii_lowercase();
    let whole = |id: LicenseId, used: usize| (used == unknown.len()).then(|| id.name.to_owned());
    let near = || {
        let known = spdx::identifiers::LICENSES.iter();
        known
            .filter(|licence| licence.flags & spdx::flags::IS_DEPRECATED == 0)
            .map(|licence| (distance(&lower, &licence.name.to_ascii_lowercase()), licence.name))
            .min()
            .filter(|(steps, _)| *steps <= (unknown.len() / 3).max(1))
            .map(|(_, name)| name.to_owned())
    };
    spdx::imprecise_license_id(&lower)
        .and_then(|(id, used)| whole(id, used))
        .or_else(|| (unknown.len() <= LICENCE_MAX).then(near).flatten())
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

impl fmt::Display for Licence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spdx(text) => f.write_str(text),
            Self::Custom(terms) => {
                let allows: Vec<&str> = terms.allows.iter().map(|wanted| wanted.name()).collect();
                write!(f, "custom:{}:{}:{}", terms.name, terms.text, allows.join("+"))
            }
        }
    }
}

impl FromStr for Licence {
    type Err = LicenceError;

    fn from_str(text: &str) -> Result<Self, LicenceError> {
        let licence = match text.strip_prefix("custom:") {
            None => Self::Spdx(text.trim().to_owned()),
            Some(rest) => {
                let bad = || LicenceError::Custom(text.to_owned());
                let mut parts = rest.split(':');
                let (Some(name), Some(hash), Some(allows), None) =
                    (parts.next(), parts.next(), parts.next(), parts.next())
                else {
                    return Err(bad());
                };
                let by_name = |name: &str| USES.into_iter().find(|wanted| wanted.name() == name).ok_or_else(bad);
                let names = allows.split('+').filter(|name| !name.is_empty());
                let mut allows: Vec<Use> = names.map(by_name).collect::<Result<_, _>>()?;
                allows.sort();
                allows.dedup();
                Self::Custom(Terms {
                    name: name.to_owned(),
                    text: hash.parse().map_err(|_| bad())?,
                    allows,
                })
            }
        };
        licence.check()?;
        Ok(licence)
    }
}

impl Serialize for Licence {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Licence {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Use {
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Redistribute => "redistribute",
            Self::Commercial => "commercial",
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train on it",
            Self::Redistribute => "pass it on",
            Self::Commercial => "use it commercially",
        })
    }
}

#[cfg(test)]
mod tests;

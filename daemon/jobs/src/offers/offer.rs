//! The stored offer of this node: durable before it is announced, and read again at the next start.

use std::{collections::BTreeSet, fs, io, path::PathBuf, sync::Mutex};

use protocol::{
    Amount,
    message::announce::{PriceHint, Work},
};

use super::WorkError;
use base::{argument::InvalidArgument, home::Home, lock, operator::work::OfferRequest};

/// The offer, on disk and in memory.
pub(super) struct Offer {
    path: PathBuf,
    now: Mutex<Option<OfferRequest>>,
}

impl Offer {
    /// Reads the offer of a home, if there is one.
    pub(super) fn open(home: &Home) -> Result<Self, WorkError> {
        let path = home.offer();
        let now = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::other),
        };
        match now {
            Ok(now) => Ok(Self {
                path,
                now: Mutex::new(now),
            }),
            Err(source) => Err(WorkError::File { path, source }),
        }
    }

    /// Returns the current offer.
    pub(super) fn get(&self) -> Option<OfferRequest> {
        lock::locked(&self.now).clone()
    }

    /// Replaces the offer. It is durable when this returns.
    pub(super) fn set(&self, offer: Option<OfferRequest>) -> Result<(), WorkError> {
        let path = self.path.clone();
        let failed = |source| WorkError::File { path, source };
        let part = self.path.with_extension("json.next");
        let written = match &offer {
            None => match fs::remove_file(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            },
            Some(offer) => serde_json::to_vec_pretty(offer)
                .map_err(io::Error::other)
                .and_then(|text| {
                    fs::create_dir_all(self.path.parent().expect("a file lies in a folder"))?;
                    fs::write(&part, text)?;
                    fs::File::open(&part)?.sync_all()?;
                    fs::rename(&part, &self.path)
                }),
        };
        written.map_err(failed)?;
        *lock::locked(&self.now) = offer;
        Ok(())
    }
}

fn kind(name: &str) -> Result<Work, WorkError> {
    match name {
        "train" => Ok(Work::Train),
        "infer" => Ok(Work::Infer),
        "audit" => Ok(Work::Audit),
        other => {
            let what = format!("`{other}` is not one of train, infer and audit");
            Err(InvalidArgument::new("kind", what).into())
        }
    }
}

/// Parses the kinds and prices of an offer.
pub(super) fn terms(offer: &OfferRequest) -> Result<(BTreeSet<Work>, Vec<PriceHint>), WorkError> {
    let kinds: BTreeSet<Work> = offer.kinds.iter().map(|name| kind(name)).collect::<Result<_, _>>()?;
    if kinds.is_empty() {
        return Err(InvalidArgument::new("kind", "name at least one of train, infer and audit").into());
    }
    let mut prices = Vec::new();
    for (name, text) in &offer.prices {
        let wrong = |what: String| InvalidArgument::new("price", what);
        let work = kind(name)?;
        if !kinds.contains(&work) {
            return Err(wrong(format!("{name} has a price but is not offered")).into());
        }
        let per_million_tokens: Amount = text
            .parse()
            .map_err(|bad: protocol::unit::ParseAmountError| wrong(bad.to_string()))?;
        prices.push(PriceHint {
            work,
            per_million_tokens,
        });
    }
    Ok((kinds, prices))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(kinds: &[&str], prices: &[(&str, &str)]) -> OfferRequest {
        OfferRequest {
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            prices: prices
                .iter()
                .map(|(kind, price)| ((*kind).to_owned(), (*price).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn an_offer_is_there_after_a_restart_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let offered = ask(&["audit"], &[("audit", "0.5 OPEN")]);
        Offer::open(&home).unwrap().set(Some(offered.clone())).unwrap();
        let again = Offer::open(&home).unwrap();
        assert_eq!(again.get(), Some(offered));
        again.set(None).unwrap();
        assert_eq!(Offer::open(&home).unwrap().get(), None);
        fs::write(home.offer(), "{").unwrap();
        let error = Offer::open(&home).err().expect("is damaged").to_string();
        assert!(error.contains("work.json"), "{error}");
    }

    #[test]
    fn an_offer_that_cannot_be_meant_is_refused_by_its_field() {
        for (bad, says) in [
            (ask(&[], &[]), "at least one of train, infer and audit"),
            (ask(&["dance"], &[]), "`dance` is none of"),
            (
                ask(&["audit"], &[("train", "1 OPEN")]),
                "train has a price but is not offered",
            ),
            (ask(&["audit"], &[("audit", "cheap")]), "`price`"),
        ] {
            let error = terms(&bad).expect_err("cannot be meant").to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}

//! The terms file: an owner's conditions as people write them.

use std::{fmt, marker::PhantomData, path::Path, str::FromStr};

use model::{AccountId, Allow, ObjectId, ObjectKind, Terms, show_time};
use serde::{Deserialize, Deserializer, de};

use crate::{
    client::{Client, now_ms},
    error::ClientError,
    file::{FileError, Parsed, parse_toml, read_toml},
};

/// Conditions that are not yet about a certain object. [`TermsDraft::default`] asks nothing and allows everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermsDraft {
    /// Credits for each use.
    pub price: u64,
    /// Who may ask.
    pub requesters: Allow<AccountId>,
    /// For data the programs that may read it, for a program the data it may read.
    pub counterparts: Allow<ObjectId>,
    /// Uses in all.
    pub uses_max: Option<u64>,
    /// From when on no new task is accepted, milliseconds since 1970.
    pub expires_ms: Option<u64>,
    /// Most bytes that may leave in one run.
    pub output_bytes_max: Option<u64>,
}

impl Default for TermsDraft {
    fn default() -> Self {
        Self {
            price: 0,
            requesters: Allow::Any,
            counterparts: Allow::Any,
            uses_max: None,
            expires_ms: None,
            output_bytes_max: None,
        }
    }
}

impl TermsDraft {
    /// Reads a terms file for an object of this kind.
    ///
    /// # Errors
    /// [`FileError`] with the line that is wrong.
    pub fn read(path: &Path, kind: ObjectKind) -> Result<Self, FileError> {
        Self::check(read_toml(path)?, kind)
    }

    /// The same, from text; `path` is only named in complaints.
    ///
    /// # Errors
    /// [`FileError`] with the line that is wrong.
    pub fn parse(path: &Path, text: &str, kind: ObjectKind) -> Result<Self, FileError> {
        Self::check(parse_toml(path, text.to_owned())?, kind)
    }

    fn check(parsed: Parsed<TermsFile>, kind: ObjectKind) -> Result<Self, FileError> {
        let file = &parsed.value;
        let counterparts = match (kind, &file.programs, &file.data) {
            (ObjectKind::Data, programs, None) => programs,
            (ObjectKind::Program, None, data) => data,
            (ObjectKind::Data, _, Some(_)) => {
                return Err(
                    parsed.complain("data", "'data' belongs into the terms of a program; terms of data say 'programs'")
                );
            }
            (ObjectKind::Program, Some(_), _) => {
                return Err(parsed
                    .complain("programs", "'programs' belongs into the terms of data; terms of a program say 'data'"));
            }
        };
        if kind == ObjectKind::Program && file.output_bytes_max.is_some() {
            return Err(parsed
                .complain("output_bytes_max", "'output_bytes_max' is for data: it bounds what may leave in one run"));
        }
        let expires_ms = file
            .expires
            .map(|expires| to_ms(&expires).map_err(|reason| parsed.complain("expires", reason)))
            .transpose()?;
        Ok(Self {
            price: file.price,
            requesters: to_allow(&file.requesters),
            counterparts: to_allow(counterparts),
            uses_max: file.uses_max,
            expires_ms,
            output_bytes_max: file.output_bytes_max,
        })
    }

    /// What keeps everybody from using an object under these terms, in words for its owner, who may not have meant it.
    /// `supply` is how many credits there are.
    fn why_dead(&self, kind: ObjectKind, now_ms: u64, supply: u64) -> Vec<String> {
        let mut why = Vec::new();
        if let Some(expires_ms) = self.expires_ms.filter(|expires_ms| *expires_ms <= now_ms) {
            why.push(format!("they ended on {}", show_time(expires_ms)));
        }
        if self.uses_max == Some(0) {
            why.push("uses_max = 0 allows no use".to_owned());
        }
        let counterparts = counterparts_of(kind);
        for (list, nobody) in
            [("requesters", is_nobody(&self.requesters)), (counterparts, is_nobody(&self.counterparts))]
        {
            if nobody {
                why.push(format!("the list of {list} is empty"));
            }
        }
        if self.output_bytes_max == Some(0) {
            why.push("output_bytes_max = 0 lets nothing out".to_owned());
        }
        if self.price > supply {
            why.push(format!("the price is more than the {supply} credits that there are"));
        }
        why
    }

    /// The terms of one object, to be signed by its owner.
    pub fn into_terms(self, object: ObjectId, owner: AccountId, serial: u64) -> Terms {
        Terms {
            object,
            owner,
            serial,
            price: self.price,
            requesters: self.requesters,
            counterparts: self.counterparts,
            uses_max: self.uses_max,
            expires_ms: self.expires_ms,
            output_bytes_max: self.output_bytes_max,
            revoked: false,
        }
    }
}

impl Client {
    /// What keeps everybody from using an object under these terms. They can be put on the ledger all the same: they may be
    /// meant, and replaced later.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn why_dead(&self, terms: &TermsDraft, kind: ObjectKind) -> Result<Vec<String>, ClientError> {
        let credits = self.genesis().await?.allocations.iter().map(|allocation| allocation.amount);
        let why = terms.why_dead(kind, now_ms(), credits.fold(0, u64::saturating_add));
        Ok(why.into_iter().map(|why| format!("nobody can use the object under these terms: {why}")).collect())
    }
}

/// Terms in plain words, one condition a line.
pub fn describe_terms(terms: &Terms, kind: ObjectKind) -> Vec<String> {
    if terms.revoked {
        return vec!["revoked: no further use".to_owned()];
    }
    let counterparts = counterparts_of(kind);
    let or_none =
        |value: Option<u64>, unit: &str| value.map_or_else(|| "no bound".to_owned(), |value| format!("{value}{unit}"));
    vec![
        format!("price: {} credits a use", terms.price),
        format!("requesters: {}", describe_allow(&terms.requesters)),
        format!("{counterparts}: {}", describe_allow(&terms.counterparts)),
        format!("uses: {}", or_none(terms.uses_max, " at most")),
        format!("expires: {}", terms.expires_ms.map_or_else(|| "never".to_owned(), show_time)),
        format!("output: {}", or_none(terms.output_bytes_max, " bytes a run at most")),
    ]
}

/// What the terms of an object call that with which it may be used.
fn counterparts_of(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Data => "programs",
        ObjectKind::Program => "data",
    }
}

fn is_nobody<T>(allow: &Allow<T>) -> bool {
    matches!(allow, Allow::Only(list) if list.is_empty())
}

fn describe_allow<T: fmt::Display>(allow: &Allow<T>) -> String {
    match allow {
        Allow::Any => "any".to_owned(),
        Allow::Only(list) if list.is_empty() => "none".to_owned(),
        Allow::Only(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TermsFile {
    #[serde(default)]
    price: u64,
    requesters: Option<AnyOr<AccountId>>,
    programs: Option<AnyOr<ObjectId>>,
    data: Option<AnyOr<ObjectId>>,
    uses_max: Option<u64>,
    expires: Option<toml::value::Datetime>,
    output_bytes_max: Option<u64>,
}

/// `"any"`, or a list.
#[derive(Clone, Debug)]
struct AnyOr<T>(Option<Vec<T>>);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for AnyOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyOrVisitor(PhantomData))
    }
}

struct AnyOrVisitor<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: fmt::Display>> de::Visitor<'de> for AnyOrVisitor<T> {
    type Value = AnyOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"any\" or a list of ids")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<AnyOr<T>, E> {
        if text == "any" { Ok(AnyOr(None)) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<AnyOr<T>, A::Error> {
        let mut ids = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            ids.push(text.parse().map_err(de::Error::custom)?);
            if ids.len() > Terms::LIST_MAX {
                return Err(de::Error::custom(format!("more than {} entries", Terms::LIST_MAX)));
            }
        }
        Ok(AnyOr(Some(ids)))
    }
}

fn to_allow<T: Clone + Ord>(field: &Option<AnyOr<T>>) -> Allow<T> {
    match field {
        None | Some(AnyOr(None)) => Allow::Any,
        Some(AnyOr(Some(list))) => {
            let mut list = list.clone();
            list.sort();
            list.dedup();
            Allow::Only(list)
        }
    }
}

fn to_ms(expires: &toml::value::Datetime) -> Result<u64, String> {
    let date = expires.date.ok_or("a date is missing: write expires = 2030-01-01")?;
    let month = time::Month::try_from(date.month).map_err(|_| "no such month")?;
    let date = time::Date::from_calendar_date(i32::from(date.year), month, date.day).map_err(|_| "no such day")?;
    let clock = match (expires.time, expires.offset) {
        (None, _) => time::Time::MIDNIGHT,
        (Some(_), None) => return Err("a time needs its offset: write expires = 2030-01-01T12:00:00Z".to_owned()),
        (Some(clock), Some(_)) => {
            time::Time::from_hms(clock.hour, clock.minute, clock.second).map_err(|_| "no such time of day")?
        }
    };
    let offset_minutes = match expires.offset {
        Some(toml::value::Offset::Custom { minutes }) => i64::from(minutes),
        Some(toml::value::Offset::Z) | None => 0,
    };
    let seconds = date.with_time(clock).assume_utc().unix_timestamp() - 60 * offset_minutes;
    u64::try_from(seconds).map(|seconds| seconds * 1_000).map_err(|_| "lies before 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, kind: ObjectKind) -> Result<TermsDraft, String> {
        TermsDraft::parse(Path::new("terms.toml"), text, kind).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_allows_everybody_for_nothing() {
        assert_eq!(parse("", ObjectKind::Data), Ok(TermsDraft::default()));
    }

    #[test]
    fn every_line_is_read() {
        let text = "price = 5\nrequesters = \"any\"\nprograms = []\nuses_max = 100\nexpires = 2030-01-01\noutput_bytes_max = 65536\n";
        let draft = parse(text, ObjectKind::Data).unwrap();
        assert_eq!(draft.price, 5);
        assert_eq!(draft.requesters, Allow::Any);
        assert_eq!(draft.counterparts, Allow::Only(vec![]));
        assert_eq!(draft.uses_max, Some(100));
        assert_eq!(draft.expires_ms, Some(1_893_456_000_000));
        assert_eq!(draft.output_bytes_max, Some(65_536));
    }

    #[test]
    fn a_time_with_an_offset_is_understood() {
        let draft = parse("expires = 2030-01-01T01:00:00+01:00", ObjectKind::Data).unwrap();
        assert_eq!(draft.expires_ms, Some(1_893_456_000_000));
    }

    #[test]
    fn complaints_name_the_line() {
        let cases = [
            ("price = 5\nprise = 6\n", ObjectKind::Data, "terms.toml, line 2: unknown field `prise`"),
            ("\n\nprice = -5\n", ObjectKind::Data, "terms.toml, line 3: "),
            ("requesters = \"anyone\"\n", ObjectKind::Data, "expected \"any\" or a list of ids"),
            ("requesters = [\n  \"did:key:zbad\"\n]\n", ObjectKind::Data, "'did:key:zbad' is not an account"),
            ("programs = [\"x\"]\n", ObjectKind::Data, "'x' is not an object id"),
            (
                "price = 1\ndata = \"any\"\n",
                ObjectKind::Data,
                "terms.toml, line 2: 'data' belongs into the terms of a program",
            ),
            (
                "programs = \"any\"\n",
                ObjectKind::Program,
                "terms.toml, line 1: 'programs' belongs into the terms of data",
            ),
            ("output_bytes_max = 1\n", ObjectKind::Program, "terms.toml, line 1: 'output_bytes_max' is for data"),
            ("expires = 2030-01-01T12:00:00\n", ObjectKind::Data, "terms.toml, line 1: a time needs its offset"),
            ("expires = 1960-01-01\n", ObjectKind::Data, "terms.toml, line 1: lies before 1970"),
            ("expires = 12:00:00\n", ObjectKind::Data, "terms.toml, line 1: a date is missing"),
        ];
        for (text, kind, expected) in cases {
            let error = parse(text, kind).unwrap_err();
            assert!(error.contains(expected), "{text:?} gave {error:?}, not {expected:?}");
        }
    }

    #[test]
    fn terms_under_which_nobody_can_ask_are_noticed() {
        let (now_ms, supply) = (1_700_000_000_000, 1_000_000);
        let cases = [
            ("expires = 2020-01-01", "they ended on 2020-01-01 00:00:00 UTC"),
            ("uses_max = 0", "uses_max = 0 allows no use"),
            ("requesters = []", "the list of requesters is empty"),
            ("programs = []", "the list of programs is empty"),
            ("output_bytes_max = 0", "output_bytes_max = 0 lets nothing out"),
            ("price = 1000001", "the price is more than the 1000000 credits that there are"),
        ];
        for (text, expected) in cases {
            let dead = parse(text, ObjectKind::Data).unwrap().why_dead(ObjectKind::Data, now_ms, supply);
            assert!(matches!(&dead[..], [only] if only.contains(expected)), "{text:?} gave {dead:?}, not {expected:?}");
        }
        let program = parse("data = []", ObjectKind::Program).unwrap().why_dead(ObjectKind::Program, now_ms, supply);
        assert!(program[0].contains("the list of data is empty"), "{program:?}");
        let alive = "price = 1000000\nuses_max = 1\nexpires = 2030-01-01\noutput_bytes_max = 1";
        assert!(parse(alive, ObjectKind::Data).unwrap().why_dead(ObjectKind::Data, now_ms, supply).is_empty());
    }
}

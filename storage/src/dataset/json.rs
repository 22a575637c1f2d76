//! JSON records: the kinds of an object's top-level fields and the text in it, read without building the object.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

use protocol::manifest::{FieldKind, SchemaError};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::RecordFault;

/// The content of an object, as far as an import needs it.
#[derive(Default)]
pub(super) struct Object {
    /// Kinds of the top-level fields.
    pub(super) kinds: BTreeMap<String, FieldKind>,
    /// All values, one per line, for the comparison of records. Keys are left out, so that renaming a field does not
    /// hide a duplicate.
    pub(super) words: String,
}

/// Parses a line as one object.
pub(super) fn object(line: &str) -> Result<Object, RecordFault> {
    let mut object = Object::default();
    let mut twice = None;
    let mut json = serde_json::Deserializer::from_str(line);
    let top = Top {
        object: &mut object,
        twice: &mut twice,
    };
    let kind = top.deserialize(&mut json).and_then(|kind| json.end().map(|()| kind));
    if let Some(name) = twice {
        return Err(SchemaError::Twice(name).into());
    }
    match kind {
        Ok(FieldKind::Object) => Ok(object),
        Ok(FieldKind::List) => Err(RecordFault::NotObject { found: "a list" }),
        Ok(_) => Err(RecordFault::NotObject { found: "a bare value" }),
        Err(error) => {
            let whole = error.to_string();
            let why = whole.split(" at line ").next().unwrap_or(&whole).to_owned();
            Err(RecordFault::Json {
                column: error.column(),
                why,
            })
        }
    }
}

/// The visitor of the outermost value.
struct Top<'a> {
    object: &'a mut Object,
    twice: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = FieldKind;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<FieldKind, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = FieldKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FieldKind, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let kind = map.next_value_seed(Value(&mut self.object.words))?;
            match self.object.kinds.entry(key) {
                Entry::Vacant(vacant) => {
                    vacant.insert(kind);
                }
                Entry::Occupied(known) => {
                    self.twice.get_or_insert_with(|| known.key().clone());
                }
            }
        }
        Ok(FieldKind::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<FieldKind, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(FieldKind::List)
    }

    fn visit_bool<E>(self, _: bool) -> Result<FieldKind, E> {
        Ok(FieldKind::Boolean)
    }

    fn visit_i64<E>(self, _: i64) -> Result<FieldKind, E> {
        Ok(FieldKind::Integer)
    }

    fn visit_u64<E>(self, _: u64) -> Result<FieldKind, E> {
        Ok(FieldKind::Integer)
    }

    fn visit_f64<E>(self, _: f64) -> Result<FieldKind, E> {
        Ok(FieldKind::Number)
    }

    fn visit_str<E>(self, _: &str) -> Result<FieldKind, E> {
        Ok(FieldKind::Text)
    }

    fn visit_unit<E>(self) -> Result<FieldKind, E> {
        Ok(FieldKind::Null)
    }
}

/// The visitor of a value inside the object, at any depth.
struct Value<'a>(&'a mut String);

impl Value<'_> {
    fn word(self, word: impl fmt::Display, kind: FieldKind) -> FieldKind {
        use fmt::Write;
        writeln!(self.0, "{word}").expect("strings take everything");
        kind
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = FieldKind;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<FieldKind, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = FieldKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FieldKind, A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Value(&mut *self.0))?;
        }
        Ok(FieldKind::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<FieldKind, A::Error> {
        while list.next_element_seed(Value(&mut *self.0))?.is_some() {}
        Ok(FieldKind::List)
    }

    fn visit_bool<E>(self, value: bool) -> Result<FieldKind, E> {
        Ok(self.word(value, FieldKind::Boolean))
    }

    fn visit_i64<E>(self, value: i64) -> Result<FieldKind, E> {
        Ok(self.word(value, FieldKind::Integer))
    }

    fn visit_u64<E>(self, value: u64) -> Result<FieldKind, E> {
        Ok(self.word(value, FieldKind::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<FieldKind, E> {
        Ok(self.word(value, FieldKind::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<FieldKind, E> {
        Ok(self.word(value, FieldKind::Text))
    }

    fn visit_unit<E>(self) -> Result<FieldKind, E> {
        Ok(self.word("null", FieldKind::Null))
    }
}

/// Writes JSON with sorted keys and without spaces, whatever order the value has.
pub(super) fn canonical(value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::Object(map) => {
            let ordered: BTreeMap<_, _> = map.iter().collect();
            out.push('{');
            for (at, (key, value)) in ordered.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
        serde_json::Value::Array(list) => {
            out.push('[');
            for (at, value) in list.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                canonical(value, out);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

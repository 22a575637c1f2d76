//! The fields of records: given by a person or inferred, one flat list for a whole dataset.
//!
//! Only the top level is described. What lies inside an object or a list is the contributor's own affair; training reads
//! named top-level fields.

use std::{collections::BTreeMap, fmt};

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Fields that one schema may have.
pub const FIELDS_MAX: usize = 1024;
/// Longest name of a field, in bytes.
pub const FIELD_NAME_MAX: usize = 256;

/// What every record has, in the order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The fields.
    pub fields: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What its values are.
    pub kind: FieldKind,
    /// Whether a record may lack it or have null there.
    #[serde(default)]
    pub optional: bool,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// Nothing but nulls was seen.
    Null,
    /// True or false.
    Boolean,
    /// A whole number.
    Integer,
    /// A number, whole or not.
    Number,
    /// A string.
    Text,
    /// A JSON array.
    List,
    /// A JSON object.
    Object,
    /// Bytes: an image or a sound.
    Binary,
    /// Values of several kinds.
    Any,
}

impl FieldKind {
    /// Whether a value of kind `found` may stand where this kind is asked for.
    pub fn takes(self, found: Self) -> bool {
        self == found || self == Self::Any || (self == Self::Number && found == Self::Integer)
    }

    /// The narrowest kind that takes both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Null, kind) | (kind, Self::Null) => kind,
            (a, b) if a.takes(b) => a,
            (a, b) if b.takes(a) => b,
            _ => Self::Any,
        }
    }
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Text => "text",
            Self::List => "list",
            Self::Object => "object",
            Self::Binary => "binary",
            Self::Any => "any",
        })
    }
}

/// Why a record does not fit a schema, or a schema is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A record lacks a field.
    #[error("field `{0}` is missing; add it, or mark it optional in the schema")]
    Missing(String),
    /// A record has one too many.
    #[error("field `{0}` is not in the schema; remove it from the record, or add it to the schema")]
    Unknown(String),
    /// A value of another kind.
    #[error("field `{name}` is {found} where the schema says {wanted}")]
    Kind {
        /// The field.
        name: String,
        /// What the record has.
        found: FieldKind,
        /// What the schema asks for.
        wanted: FieldKind,
    },
    /// The same name twice in one record or schema.
    #[error("field `{0}` is there twice; keep one")]
    Twice(String),
    /// Too many fields.
    #[error("{0} fields where at most {FIELDS_MAX} are allowed")]
    TooMany(usize),
    /// A name that is empty, too long or out of order.
    #[error("a field is called `{0}`; names have 1 to {FIELD_NAME_MAX} bytes and stand in alphabetical order")]
    Name(String),
}

impl Schema {
    /// A schema with these fields, in the order of their names.
    pub fn new(mut fields: Vec<Field>) -> Result<Self, SchemaError> {
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let schema = Self { fields };
        schema.check()?;
        Ok(schema)
    }

    /// Whether it is in order and within its limits.
    pub fn check(&self) -> Result<(), SchemaError> {
        if self.fields.len() > FIELDS_MAX {
            return Err(SchemaError::TooMany(self.fields.len()));
        }
        for field in &self.fields {
            if field.name.is_empty() || field.name.len() > FIELD_NAME_MAX {
                return Err(SchemaError::Name(field.name.clone()));
            }
        }
        for pair in self.fields.windows(2) {
            if pair[0].name == pair[1].name {
                return Err(SchemaError::Twice(pair[1].name.clone()));
            }
            if pair[0].name > pair[1].name {
                return Err(SchemaError::Name(pair[1].name.clone()));
            }
        }
        Ok(())
    }

    /// Whether a record with these fields fits. The first field that does not, in the order of names, is named.
    pub fn fits(&self, record: &BTreeMap<String, FieldKind>) -> Result<(), SchemaError> {
        for field in &self.fields {
            match record.get(&field.name) {
                None | Some(FieldKind::Null) if field.optional || field.kind == FieldKind::Null => (),
                None => return Err(SchemaError::Missing(field.name.clone())),
                Some(&found) if field.kind.takes(found) => (),
                Some(&found) => {
                    return Err(SchemaError::Kind {
                        name: field.name.clone(),
                        found,
                        wanted: field.kind,
                    });
                }
            }
        }
        let known = |name: &String| self.fields.binary_search_by(|field| field.name.cmp(name)).is_ok();
        match record.keys().find(|name| !known(name)) {
            Some(name) => Err(SchemaError::Unknown(name.clone())),
            None => Ok(()),
        }
    }
}

/// A schema being inferred: what was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    records: u64,
    /// Kind, and in how many records it was there and not null.
    seen: BTreeMap<String, (FieldKind, u64)>,
}

impl Kinds {
    /// Takes in one more record.
    pub fn add(&mut self, record: &BTreeMap<String, FieldKind>) -> Result<(), SchemaError> {
        self.records += 1;
        for (name, &kind) in record {
            if !self.seen.contains_key(name) {
                if self.seen.len() == FIELDS_MAX {
                    return Err(SchemaError::TooMany(FIELDS_MAX + 1));
                }
                if name.is_empty() || name.len() > FIELD_NAME_MAX {
                    return Err(SchemaError::Name(name.clone()));
                }
                self.seen.insert(name.clone(), (kind, 0));
            }
            let (known, times) = self.seen.get_mut(name).expect("inserted above");
            *known = known.with(kind);
            *times += u64::from(kind != FieldKind::Null);
        }
        Ok(())
    }

    /// The narrowest schema that every record fits.
    pub fn schema(&self) -> Schema {
        let field = |(name, &(kind, times)): (&String, &(FieldKind, u64))| Field {
            name: name.clone(),
            kind,
            optional: times < self.records,
        };
        Schema {
            fields: self.seen.iter().map(field).collect(),
        }
    }
}

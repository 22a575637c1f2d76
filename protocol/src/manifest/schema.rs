//! The schema of a dataset: one flat list of fields, given by the contributor or inferred from the records.
//!
//! Only top-level fields are described, because training reads named top-level fields; the content of a nested object or
//! list is not checked.

use std::{collections::BTreeMap, fmt};

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Most fields in one schema.
pub const FIELDS_MAX: usize = 1024;
/// Longest field name, in bytes.
pub const FIELD_NAME_MAX: usize = 256;

/// The fields of every record, in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    pub fields: Vec<Field>,
}

/// One field of a schema.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    pub name: String,
    pub kind: FieldKind,
    /// True if a record may lack the field or hold null.
    #[serde(default)]
    pub optional: bool,
}

/// The type of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// Only nulls were seen.
    Null,
    Boolean,
    /// A whole number.
    Integer,
    /// A number, whole or not.
    Number,
    Text,
    /// A JSON array.
    List,
    /// A JSON object.
    Object,
    /// Bytes of an image or a sound.
    Binary,
    /// Values of several kinds.
    Any,
}

impl FieldKind {
    /// Returns true if a value of kind `found` is valid for a field of this kind.
    pub fn takes(self, found: Self) -> bool {
        self == found || self == Self::Any || (self == Self::Number && found == Self::Integer)
    }

    /// Returns the narrowest kind that accepts both.
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

/// Error of a record that does not fit a schema, or of an invalid schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("field `{0}` is missing; add it, or mark it optional in the schema")]
    Missing(String),
    #[error("field `{0}` is not in the schema; remove it from the record, or add it to the schema")]
    Unknown(String),
    #[error("field `{name}` is {found} where the schema says {wanted}")]
    Kind {
        name: String,
        /// The kind in the record.
        found: FieldKind,
        /// The kind in the schema.
        wanted: FieldKind,
    },
    #[error("field `{0}` is there twice; keep one")]
    Twice(String),
    #[error("{0} fields where at most {FIELDS_MAX} are allowed")]
    TooMany(usize),
    /// A name that is empty, too long or out of order.
    #[error("a field is called `{0}`; names have 1 to {FIELD_NAME_MAX} bytes and stand in alphabetical order")]
    Name(String),
}

impl Schema {
    /// Sorts `fields` by name and returns a checked schema.
    pub fn new(mut fields: Vec<Field>) -> Result<Self, SchemaError> {
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let schema = Self { fields };
        schema.check()?;
        Ok(schema)
    }

    /// Checks the order and the bounds.
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

    /// Checks a record's fields. The error names the first field, in order of names, that does not fit.
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

/// A schema being inferred from records.
///
/// ```
/// use std::collections::BTreeMap;
/// use protocol::manifest::{FieldKind, SchemaInference};
///
/// let mut inference = SchemaInference::default();
/// inference.add(&BTreeMap::from([("text".to_owned(), FieldKind::Text)])).unwrap();
/// inference.add(&BTreeMap::new()).unwrap();
/// let schema = inference.schema();
/// assert!(schema.fields[0].optional, "one record lacks the field");
/// ```
#[derive(Clone, Debug, Default)]
pub struct SchemaInference {
    records: u64,
    /// The kind of each field, and the number of records in which it was present and not null.
    seen: BTreeMap<String, (FieldKind, u64)>,
}

impl SchemaInference {
    /// Adds one record.
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

    /// Returns the narrowest schema that every added record fits.
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

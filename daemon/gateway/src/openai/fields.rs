//! The fields of a request body, read one by one. An error names the field; `null` counts as absent; unknown fields are
//! ignored, because clients send more than they need.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::ApiError;

/// The JSON object of a request body.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Parses a body.
    pub(super) fn read(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(bad("the body is no JSON object".to_owned())),
            Err(error) => Err(bad(format!("the body is no JSON: {error}"))),
        }
    }

    /// A field, if it is present and has this type.
    pub(super) fn get<T: DeserializeOwned>(&self, name: &str, expected: &str) -> Result<Option<T>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|_| {
                let shown: String = value.to_string().chars().take(60).collect();
                ApiError::field(name, format!("is {shown}, it must be {expected}"))
            }),
        }
    }

    /// A field that is a number.
    pub(super) fn number(&self, name: &str) -> Result<Option<f32>, ApiError> {
        self.get(name, "a number")
    }

    /// A field that is a whole number from 0.
    pub(super) fn count(&self, name: &str) -> Result<Option<u32>, ApiError> {
        self.get(name, "a whole number from 0")
    }

    /// A field that is a bool; false if absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.get(name, "true or false")?.unwrap_or(false))
    }

    /// A field as unparsed JSON.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Refuses a field that is present, unless its value is `harmless`.
    pub(super) fn without(&self, name: &str, harmless: impl FnOnce(&Value) -> bool) -> Result<(), ApiError> {
        match self.value(name) {
            Some(value) if !harmless(value) => Err(ApiError::field(name, "is not supported; leave it out")),
            Some(_) | None => Ok(()),
        }
    }
}

fn bad(message: String) -> ApiError {
    ApiError::new(axum::http::StatusCode::BAD_REQUEST, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_the_wrong_type_is_named_and_null_is_nothing() {
        let fields = Fields::read(br#"{"n": "two", "seed": null, "top_p": 0.5}"#).unwrap();
        assert_eq!(fields.count("n").unwrap_err().object()["error"]["param"], "n");
        assert_eq!(fields.count("seed").unwrap(), None);
        assert_eq!(fields.number("top_p").unwrap(), Some(0.5));
        assert!(Fields::read(b"[]").is_err() && Fields::read(b"{").is_err());
    }
}

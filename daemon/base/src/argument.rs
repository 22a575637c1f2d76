//! The error for an argument that a request got wrong.

/// An argument that cannot be used. The message names the field, what is wrong with it, and what would be accepted.
///
/// ```
/// use base::argument::InvalidArgument;
///
/// let wrong = InvalidArgument::new("days", "0 is too short; give at least 1");
/// assert_eq!(wrong.to_string(), "`days`: 0 is too short; give at least 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {what}")]
pub struct InvalidArgument {
    pub field: &'static str,
    pub what: String,
}

impl InvalidArgument {
    /// Names a field and what is wrong with it.
    pub fn new(field: &'static str, what: impl ToString) -> Self {
        Self {
            field,
            what: what.to_string(),
        }
    }
}

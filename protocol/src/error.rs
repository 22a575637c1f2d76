//! Errors as one line of text, for logs and for remote callers. Error types belong to their operations, not here.

/// Returns an error and its sources on one line, outermost first: `could not read a: permission denied`.
///
/// ```
/// let error = "x".parse::<u64>().unwrap_err();
/// assert_eq!(protocol::error_chain(&error), "invalid digit found in string");
/// ```
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        #[source]
        source: Option<Box<Layer>>,
    }

    #[test]
    fn every_cause_is_listed_once_and_the_outermost_first() {
        let layer = |text, source: Option<Layer>| Layer {
            text,
            source: source.map(Box::new),
        };
        assert_eq!(error_chain(&layer("alone", None)), "alone");
        let deep = layer("start", Some(layer("read", Some(layer("disk", None)))));
        assert_eq!(error_chain(&deep), "start: read: disk");
    }
}

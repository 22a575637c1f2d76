//! A tracing span for each request, so that log lines name the request they belong to.

use axum::{extract::Request, middleware::Next, response::Response};
use tracing::{Instrument as _, info_span};

/// Span for a request to the operator's API.
pub(crate) async fn operator(request: Request, next: Next) -> Response {
    let span = info_span!("operator.request", path = request.uri().path());
    next.run(request).instrument(span).await
}

/// Span for a request to the OpenAI API.
pub(crate) async fn openai(request: Request, next: Next) -> Response {
    let span = info_span!("openai.request", path = request.uri().path());
    next.run(request).instrument(span).await
}

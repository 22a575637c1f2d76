//! A span for each request, so that what is logged on its way says whose it was.

use axum::{extract::Request, middleware::Next, response::Response};
use tracing::{Instrument as _, info_span};

/// Of the operator's API.
pub(crate) async fn operator(request: Request, next: Next) -> Response {
    let span = info_span!("operator.request", path = request.uri().path());
    next.run(request).instrument(span).await
}

/// Of the OpenAI API.
pub(crate) async fn openai(request: Request, next: Next) -> Response {
    let span = info_span!("openai.request", path = request.uri().path());
    next.run(request).instrument(span).await
}

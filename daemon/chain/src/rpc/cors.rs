//! A layer of the HTTP server that applies the cross-origin rules of [`base::guard`].

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use base::guard::{
    Origins,
    cors::{Decision, decide},
};
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse};
use tracing::{Instrument as _, debug_span};

/// The layer.
#[derive(Clone)]
pub(crate) struct CorsLayer(Arc<Origins>);

impl CorsLayer {
    pub(crate) fn new(origins: &[String]) -> Self {
        Self(Arc::new(Origins::new(origins)))
    }
}

impl<S> tower::Layer<S> for CorsLayer {
    type Service = CorsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CorsService {
            inner,
            origins: self.0.clone(),
        }
    }
}

/// A service inside the layer.
#[derive(Clone)]
pub(crate) struct CorsService<S> {
    inner: S,
    origins: Arc<Origins>,
}

impl<S, B> tower::Service<HttpRequest<B>> for CorsService<S>
where
    S: tower::Service<HttpRequest<B>, Response = HttpResponse>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = HttpResponse;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: HttpRequest<B>) -> Self::Future {
        match decide(&self.origins, request.method(), request.headers()) {
            Decision::Answer(status, headers) => {
                let mut response = HttpResponse::new(HttpBody::empty());
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                Box::pin(async move { Ok(response) })
            }
            Decision::Pass(extra) => {
                let answer = self.inner.call(request);
                let answering = async move {
                    let mut response = answer.await?;
                    response.headers_mut().extend(extra);
                    Ok(response)
                };
                Box::pin(answering.instrument(debug_span!("rpc.request")))
            }
        }
    }
}

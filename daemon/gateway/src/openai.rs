//! The OpenAI API of an engine: chat, completions, models, and loading adapters.
//!
//! `POST /v1/chat/completions` and `/v1/completions`, both whole or as server-sent events; `GET /v1/models`; adapters by
//! [`models`]; `GET /health` and `/metrics`. The `model` of a request is the base, an adapter's `name`, `base:name`, or
//! `name@hash` for exactly this content. Beside the API's own fields a request may have `adapters` (a weighted mix over the
//! base), `verified` (the same bits whatever else is served), `top_k`, `min_p`, `repetition_penalty`, `min_tokens`,
//! `ignore_eos`, `stop_token_ids` and `include_stop_str_in_output`. The field `openledger` of a response names the content
//! hashes and the seed that produced it. An error names the field that is wrong.
//!
//! The way of a request: `request.rs` parses the body into a `ParsedRequest`, the engine gets one request per choice,
//! `response.rs` or `stream.rs` collects the events, and `objects.rs` writes the JSON.

mod error;
mod fields;
mod guard;
mod metrics;
mod models;
mod objects;
mod request;
mod response;
mod stream;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use serve::process::{Admin, Reply};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use base::{
    busy::{self, Busy},
    events::Events,
    guard::Guard,
};
use jobs::{
    engine::{DRAIN_WITHIN, Engine, Health},
    serving::Prepared,
};

use crate::traced;

use self::{
    error::ApiError,
    objects::Envelope,
    request::{Kind, Names, ParsedRequest},
};

/// Largest body. It must hold a long conversation, and fit into one message to the engine's process.
const BODY_BYTES_MAX: usize = 8 << 20;

/// Settings of the OpenAI API.
pub struct Settings {
    pub listen: SocketAddr,
    /// Origins of web pages that may send requests, `*` for any.
    pub origins: Vec<String>,
    /// The token that requests must carry, if any.
    pub token: Option<String>,
    /// The engine to start, and the name of its model for clients.
    pub engine: Prepared,
    pub events: Events,
    /// Marks that completions are in progress, for a training run beside.
    pub busy: Option<Arc<Busy>>,
}

/// Reason why the OpenAI API did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}; choose another address with --listen")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("the engine could not be started: {0}")]
    Engine(String),
}

/// State shared by all handlers.
pub(crate) struct Serving {
    engine: Arc<Engine>,
    names: Names,
    /// Content hash of the base model.
    base: String,
    defaults: compute::model::Generation,
    context_tokens_max: usize,
    started_s: u64,
}

/// The running OpenAI API and its engine.
pub struct ModelServer {
    /// The bound address.
    pub address: SocketAddr,
    /// Model and adapters that the engine loaded.
    pub ready: Arc<serve::process::Ready>,
    server: JoinHandle<()>,
    follower: JoinHandle<()>,
    stop: CancellationToken,
}

impl ModelServer {
    /// Starts the engine, waits until it is ready, and serves requests.
    pub async fn start(settings: Settings) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen {
            address: settings.listen,
            source,
        };
        // Bound first, so that a taken address fails at once and not after a large model was opened.
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let prepared = settings.engine;
        let (engine, follower) = Engine::start(prepared.command, prepared.engine, settings.events);
        let ready = engine.ready().await.map_err(ServeError::Engine)?;
        let serving = Arc::new(Serving {
            engine,
            names: Names { base: prepared.name },
            base: prepared.base.hash.to_string(),
            defaults: prepared.base.generation,
            context_tokens_max: ready.context_tokens_max,
            started_s: now_s(),
        });
        let guard = Guard::new(address, &settings.origins, settings.token.as_deref());
        let stop = CancellationToken::new();
        let router = router(serving, Arc::new(guard), settings.busy);
        let until = stop.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            if let Err(why) = axum::serve(listener, router).with_graceful_shutdown(until).await {
                warn!(error = %why, "requests are no longer answered");
            }
        });
        Ok(Self {
            address,
            ready,
            server,
            follower,
            stop,
        })
    }

    /// Takes no new requests, gives running ones some time to end, and stops the engine.
    pub async fn stop(self) {
        self.stop.cancel();
        let abort = self.server.abort_handle();
        if tokio::time::timeout(DRAIN_WITHIN, self.server).await.is_err() {
            abort.abort();
        }
        self.follower.abort();
    }
}

fn router(serving: Arc<Serving>, guard: Arc<Guard>, busy: Option<Arc<Busy>>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::one))
        .route("/v1/lora_adapters", get(models::adapters))
        .route("/v1/load_lora_adapter", post(models::load))
        .route("/v1/unload_lora_adapter", post(models::unload))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(models::not_found)
        .layer(middleware::from_fn_with_state(busy, busy::while_answering))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(guard, guard::check_access))
        .layer(middleware::from_fn(traced::openai))
        .with_state(serving)
}

async fn chat(State(serving): State<Arc<Serving>>, body: Body) -> Result<Response, ApiError> {
    serving.complete(Kind::Chat, &body.0).await
}

async fn completion(State(serving): State<Arc<Serving>>, body: Body) -> Result<Response, ApiError> {
    serving.complete(Kind::Completion, &body.0).await
}

/// A request body within [`BODY_BYTES_MAX`].
struct Body(Bytes);

impl<S: Send + Sync> axum::extract::FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, ApiError> {
        let read = Bytes::from_request(request, state).await;
        read.map(Self).map_err(|error| {
            let status = error.into_response().status();
            match status {
                StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
                    status,
                    format!("the body has more than {BODY_BYTES_MAX} bytes, which is the most that is read"),
                ),
                _ => ApiError::new(status, "the body could not be read"),
            }
        })
    }
}

impl Serving {
    async fn complete(&self, kind: Kind, body: &[u8]) -> Result<Response, ApiError> {
        let parsed = request::read(kind, body, &self.names, &self.defaults)?;
        let submit = |request: &serve::engine::Request| self.engine.submit(request.clone()).map_err(ApiError::from);
        // If one choice is refused, dropping the streams of the others cancels them.
        let streams = parsed.requests.iter().map(submit).collect::<Result<Vec<_>, _>>()?;
        let envelope = self.envelope(kind, &parsed);
        if parsed.stream {
            return Ok(stream::begin(envelope, parsed, streams).await?.into_response());
        }
        Ok(Json(response::whole(&envelope, &parsed, streams).await?).into_response())
    }

    fn envelope(&self, kind: Kind, parsed: &ParsedRequest) -> Envelope {
        Envelope {
            kind,
            id: response::name(kind),
            created_s: now_s(),
            model: parsed.model.clone(),
            base: self.base.clone(),
            verified: parsed.verified,
            seed: parsed.seed,
        }
    }
}

async fn health(State(serving): State<Arc<Serving>>) -> Response {
    match serving.engine.health() {
        Health::Ready(ready) => Json(json!({ "status": "ok", "base": ready.base })).into_response(),
        Health::Down(why) => {
            let told = json!({ "status": "down", "why": why });
            (StatusCode::SERVICE_UNAVAILABLE, Json(told)).into_response()
        }
    }
}

async fn metrics(State(serving): State<Arc<Serving>>) -> Response {
    let up = matches!(serving.engine.health(), Health::Ready(_));
    let metrics = match serving.engine.admin(Admin::Metrics).await {
        Ok(Reply::Metrics(metrics)) => Some(metrics),
        Ok(_) | Err(_) => None,
    };
    let page = metrics::page(up, serving.engine.restarts(), metrics.as_deref());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response()
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

//! The engine's interface for programs that speak the OpenAI API: chat, completions, models, and adapters that come and go.
//!
//! `POST /v1/chat/completions` and `/v1/completions`, both in one piece or as server-sent events; `GET /v1/models`;
//! adapters by [`models`]; `GET /health` and `/metrics`. The model of a request is the base, an adapter's `name`,
//! `base:name`, or `name@hash` for one content and no other. Beside the API's own fields a request may have `adapters`
//! (a weighted mix over the base), `verified` (the same bits whoever else is served), `top_k`, `min_p`,
//! `repetition_penalty`, `min_tokens`, `ignore_eos`, `stop_token_ids` and `include_stop_str_in_output`; an answer says in
//! `openledger` which contents gave it and by which seed. Whatever is wrong with a request is told by the field's name.

mod answer;
mod ask;
mod error;
mod fields;
mod figures;
mod guard;
mod models;
mod shape;
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
    ask::{Asked, Kind, Names},
    error::ApiError,
    shape::Frame,
};

/// The largest body: a long conversation, and no more than the engine's process can be told.
const BODY_BYTES_MAX: usize = 8 << 20;

/// What is served, and to whom.
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Web pages that may ask, `*` for any.
    pub origins: Vec<String>,
    /// What a request has to show; nothing if there is none.
    pub token: Option<String>,
    /// The engine, and what clients call its model.
    pub engine: Prepared,
    /// Where it tells what happens.
    pub events: Events,
    /// Where it says that answers are under way.
    pub busy: Option<Arc<Busy>>,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It cannot be listened there.
    #[error("cannot listen on {address}; choose another address with --listen")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The engine does not start.
    #[error("the engine could not be started: {0}")]
    Engine(String),
}

/// What every request is answered with.
pub(crate) struct Serving {
    engine: Arc<Engine>,
    names: Names,
    /// The base model's content.
    base: String,
    defaults: compute::model::Generation,
    context_tokens_max: usize,
    started_s: u64,
}

/// A running interface and its engine.
pub struct Served {
    /// Where it listens.
    pub address: SocketAddr,
    /// What the engine found.
    pub ready: Arc<serve::process::Ready>,
    server: JoinHandle<()>,
    follower: JoinHandle<()>,
    stop: CancellationToken,
}

impl Served {
    /// Starts the engine and, once it takes requests, listens.
    pub async fn start(settings: Settings) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen {
            address: settings.listen,
            source,
        };
        // Bound first: an address that is taken is told at once, and not after a large model was opened.
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

    /// Takes nothing new, lets what runs end for a while, and ends the engine.
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
        .route("/metrics", get(figures))
        .fallback(models::nowhere)
        .layer(middleware::from_fn_with_state(busy, busy::while_answering))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(guard, guard::only_ours))
        .layer(middleware::from_fn(traced::openai))
        .with_state(serving)
}

async fn chat(State(serving): State<Arc<Serving>>, body: Body) -> Result<Response, ApiError> {
    serving.answer(Kind::Chat, &body.0).await
}

async fn completion(State(serving): State<Arc<Serving>>, body: Body) -> Result<Response, ApiError> {
    serving.answer(Kind::Completion, &body.0).await
}

/// A body within its limit.
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
    async fn answer(&self, kind: Kind, body: &[u8]) -> Result<Response, ApiError> {
        let asked = ask::read(kind, body, &self.names, &self.defaults)?;
        let ask = |request: &serve::engine::Request| self.engine.ask(request.clone()).map_err(ApiError::from);
        // Those that were asked are ended when one is refused: they are dropped.
        let answers = asked.requests.iter().map(ask).collect::<Result<Vec<_>, _>>()?;
        let frame = self.frame(kind, &asked);
        if asked.stream {
            return Ok(stream::begin(frame, asked, answers).await?.into_response());
        }
        Ok(Json(answer::whole(&frame, &asked, answers).await?).into_response())
    }

    fn frame(&self, kind: Kind, asked: &Asked) -> Frame {
        Frame {
            kind,
            id: answer::name(kind),
            created_s: now_s(),
            model: asked.model.clone(),
            base: self.base.clone(),
            verified: asked.verified,
            seed: asked.seed,
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

async fn figures(State(serving): State<Arc<Serving>>) -> Response {
    let up = matches!(serving.engine.health(), Health::Ready(_));
    let metrics = match serving.engine.admin(Admin::Metrics).await {
        Ok(Reply::Metrics(metrics)) => Some(metrics),
        Ok(_) | Err(_) => None,
    };
    let page = figures::page(up, serving.engine.restarts(), metrics.as_deref());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response()
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

//! Serving a model over the OpenAI API, for `openledger serve` without a node and for a node on request.

use std::{path::Path, sync::Arc};

use base::{
    busy::Busy,
    events::Events,
    home::Home,
    operator::job::{RefusedLine, ServeRequest, ServeResponse},
    report::{Failure, Kind},
};
use jobs::{
    JobError,
    serving::{self, Serving},
};
use tokio::sync::Mutex;

use crate::openai::{ModelServer, ServeError, Settings};

/// Reason why a model is not served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The request is invalid.
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Job(error) => error.into(),
            StartError::Serve(error) => Self::of(Kind::Failed, &error),
        }
    }
}

/// Starts the engine for a model of this home, and serves clients once it is ready.
pub async fn start(
    home: &Home,
    request: ServeRequest,
    events: Events,
) -> Result<(ModelServer, ServeResponse), StartError> {
    if request.no_auth && !request.listen.ip().is_loopback() {
        let text = "--no-auth answers everyone, and --listen is not for this machine alone; leave one of them out";
        return Err(JobError::refused(Kind::Usage, text).into());
    }
    let token_file = (!request.no_auth).then(|| request.token_file.unwrap_or_else(|| home.serve_token()));
    let token = token_file
        .as_deref()
        .map(|file: &Path| serving::token(file))
        .transpose()?;
    let prepared = Serving {
        model: request.model,
        adapters: request.adapters,
        name: request.name,
        device: request.device,
        threads: request.threads,
        quantise: request.quantize,
        memory_bytes_max: request.memory_bytes_max,
        adapter_bytes_max: request.adapter_bytes_max,
        rows_max: request.rows_max,
    }
    .prepare(home)?;
    let (model, hash) = (prepared.name.clone(), prepared.base.hash.to_string());
    let served = ModelServer::start(Settings {
        listen: request.listen,
        origins: request.origins,
        token,
        engine: prepared,
        events,
        // Without the file, a training run in this home just does not slow down.
        busy: Busy::open(&home.busy()).ok(),
    })
    .await?;
    let ready = &served.ready;
    let refused = |(name, why): &(String, String)| RefusedLine {
        name: name.clone(),
        why: why.clone(),
    };
    let answer = ServeResponse {
        url: format!("http://{}/v1", served.address),
        model,
        hash,
        context_tokens: ready.context_tokens_max,
        adapters: ready.adapters,
        refused: ready.refused.iter().map(refused).collect(),
        token_file,
        warnings: serving::warnings(ready),
    };
    Ok((served, answer))
}

/// The model that a node serves, at most one. Clones share it.
#[derive(Clone)]
pub struct NodeServing {
    home: Home,
    events: Events,
    served: Arc<Mutex<Option<(ModelServer, ServeResponse)>>>,
}

impl NodeServing {
    /// Serves nothing yet.
    pub fn new(home: Home, events: Events) -> Self {
        let served = Arc::default();
        Self { home, events, served }
    }

    /// Starts serving a model. Fails if one is served already.
    pub async fn start(&self, request: ServeRequest) -> Result<ServeResponse, Failure> {
        let mut served = self.served.lock().await;
        if let Some((_, answer)) = &*served {
            let text = format!("{} is served already; `openledger serve --stop` ends it", answer.model);
            return Err(Failure::new(Kind::Usage, text));
        }
        let (started, answer) = start(&self.home, request, self.events.clone()).await?;
        *served = Some((started, answer.clone()));
        Ok(answer)
    }

    /// The model being served.
    pub async fn status(&self) -> Option<ServeResponse> {
        self.served.lock().await.as_ref().map(|(_, answer)| answer.clone())
    }

    /// Stops serving, and returns what was served.
    pub async fn stop(&self) -> Option<ServeResponse> {
        let (served, answer) = self.served.lock().await.take()?;
        served.stop().await;
        Some(answer)
    }
}

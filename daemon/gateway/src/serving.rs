//! A model that is served over the OpenAI API: by `openledger serve`, which has no node, and by a node that is asked to.

use std::{path::Path, sync::Arc};

use base::{
    busy::Busy,
    events::Events,
    home::Home,
    operator::job::{RefusedLine, ServeAnswer, ServeAsk},
    report::{Failure, Kind},
};
use jobs::{
    JobError,
    serving::{self, Serving},
};
use tokio::sync::Mutex;

use crate::openai::{ServeError, Served, Settings};

/// Why a model is not served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It cannot be served as it was asked for.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The engine or the interface did not start.
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

/// Starts the engine of a model of this home, and answers clients once it takes requests.
pub async fn start(home: &Home, ask: ServeAsk, events: Events) -> Result<(Served, ServeAnswer), StartError> {
    if ask.no_auth && !ask.listen.ip().is_loopback() {
        let text = "--no-auth answers everyone, and --listen is not for this machine alone; leave one of them out";
        return Err(JobError::refused(Kind::Usage, text).into());
    }
    let token_file = (!ask.no_auth).then(|| ask.token_file.unwrap_or_else(|| home.serve_token()));
    let token = token_file
        .as_deref()
        .map(|file: &Path| serving::token(file))
        .transpose()?;
    let prepared = Serving {
        model: ask.model,
        adapters: ask.adapters,
        name: ask.name,
        device: ask.device,
        threads: ask.threads,
        quantise: ask.quantize,
        memory_bytes_max: ask.memory_bytes_max,
        adapter_bytes_max: ask.adapter_bytes_max,
        rows_max: ask.rows_max,
    }
    .prepare(home)?;
    let (model, hash) = (prepared.name.clone(), prepared.base.hash.to_string());
    let served = Served::start(Settings {
        listen: ask.listen,
        origins: ask.origins,
        token,
        engine: prepared,
        events,
        // Whoever trains in this home does without knowing, if the file cannot be made.
        busy: Busy::open(&home.busy()).ok(),
    })
    .await?;
    let ready = &served.ready;
    let refused = |(name, why): &(String, String)| RefusedLine {
        name: name.clone(),
        why: why.clone(),
    };
    let answer = ServeAnswer {
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

/// The one model that a node serves, if it does. Clones are the same.
#[derive(Clone)]
pub struct NodeServing {
    home: Home,
    events: Events,
    served: Arc<Mutex<Option<(Served, ServeAnswer)>>>,
}

impl NodeServing {
    /// Serves nothing yet.
    pub fn new(home: Home, events: Events) -> Self {
        let served = Arc::default();
        Self { home, events, served }
    }

    /// Starts a model. Fails while another is served.
    pub async fn start(&self, ask: ServeAsk) -> Result<ServeAnswer, Failure> {
        let mut served = self.served.lock().await;
        if let Some((_, answer)) = &*served {
            let text = format!("{} is served already; `openledger serve --stop` ends it", answer.model);
            return Err(Failure::new(Kind::Usage, text));
        }
        let (started, answer) = start(&self.home, ask, self.events.clone()).await?;
        *served = Some((started, answer.clone()));
        Ok(answer)
    }

    /// What is served.
    pub async fn status(&self) -> Option<ServeAnswer> {
        self.served.lock().await.as_ref().map(|(_, answer)| answer.clone())
    }

    /// Ends what is served, and says what it was.
    pub async fn stop(&self) -> Option<ServeAnswer> {
        let (served, answer) = self.served.lock().await.take()?;
        served.stop().await;
        Some(answer)
    }
}

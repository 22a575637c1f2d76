//! Serves an imported chain over JSON-RPC: the methods of a node, on a head that never moves.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use alloy_primitives::Address;
use consensus::{
    execution::AccountState,
    mempool::{Limits, Mempool, PooledTransaction},
};
use evm::{pool_tx::TxValidator, view::At};
use jsonrpsee::core::async_trait;
use protocol::{Account, Amount, Height, TxHash};
use storage::BlockLog;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::{ImportedBlocks, ImportedChain};
use crate::{
    actor::Head,
    rpc::{
        self,
        backend::{Backend, SenderFilter},
        failure::Failure,
    },
    state::LoggedBlocks,
};
use base::{
    listen::{self, ListenError},
    lock,
};

/// Hashes of accepted transactions that a slow subscriber may lag behind.
const ACCEPTED: usize = 4096;

/// Reason that an imported chain is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// An imported chain that is being served. [`Serving::stop`] ends it and lets requests in progress finish.
pub struct Serving {
    pub address: SocketAddr,
    server: jsonrpsee::server::ServerHandle,
    stop: CancellationToken,
    /// Keeps the home locked.
    _chain: Arc<ImportedChain>,
}

impl Serving {
    /// Stops accepting requests, and returns when those in progress are answered.
    pub async fn stop(self) {
        self.stop.cancel();
        // An error means that it has stopped already.
        let _ = self.server.stop();
        self.server.stopped().await;
    }
}

/// Serves a chain according to `settings`, with all methods of a node and those of `testing_`.
pub async fn serve(chain: ImportedChain, settings: rpc::Settings) -> Result<Serving, ServeError> {
    let chain = Arc::new(chain);
    let backend = Arc::new(ImportedBackend::new(&chain));
    let (listener, address) = listen::listen(settings.listen, "--rpc").await?;
    let stop = CancellationToken::new();
    let settings = rpc::Settings {
        testing: true,
        ..settings
    };
    let server = rpc::serve(listener, &settings, backend, &stop).map_err(|source| ListenError::Listen {
        address,
        key: "--rpc",
        source,
    })?;
    Ok(Serving {
        address,
        server,
        stop,
        _chain: chain,
    })
}

/// Answers JSON-RPC from an imported chain. Submitted transactions stay in a mempool of its own.
struct ImportedBackend {
    /// Never changes, and is open as long as this exists.
    head: watch::Sender<Head>,
    log: Arc<BlockLog>,
    tx_validator: Arc<TxValidator>,
    pool: Mutex<Mempool>,
    accepted: broadcast::Sender<TxHash>,
}

impl ImportedBackend {
    fn new(chain: &ImportedChain) -> Self {
        let tip = chain.ledger.tip();
        let head = Head {
            height: tip.height,
            hash: tip.hash,
            view: chain.ledger.view(Arc::new(ImportedBlocks(chain.log.clone()))),
        };
        Self {
            head: watch::channel(head).0,
            log: chain.log.clone(),
            tx_validator: Arc::new(chain.ledger.tx_validator()),
            pool: Mutex::new(Mempool::new(Limits::default())),
            accepted: broadcast::channel(ACCEPTED).0,
        }
    }

    fn pool(&self) -> MutexGuard<'_, Mempool> {
        lock::locked(&self.pool)
    }

    /// Checks a transaction, and returns it with its sender's account at the head.
    async fn admit(&self, raw: Arc<[u8]>) -> Result<(PooledTransaction, AccountState), Failure> {
        let (tx_validator, view) = (self.tx_validator.clone(), self.head.borrow().view.clone());
        let admit = move || {
            let pooled = tx_validator
                .admit(&raw)
                .map_err(|why| Failure::refused(why.to_string()))?;
            let account = view.account(&Address::from(pooled.sender.0), At::Tip)?;
            let account = AccountState {
                nonce: account.nonce,
                balance: Amount(account.balance.saturating_to()),
            };
            Ok((pooled, account))
        };
        let done = tokio::task::spawn_blocking(admit).await;
        done.map_err(|_| Failure::Internal("the transaction could not be checked".into()))?
    }
}

#[async_trait]
impl Backend for ImportedBackend {
    fn heads(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    fn log(&self) -> LoggedBlocks {
        LoggedBlocks(self.log.clone())
    }

    fn peers(&self) -> usize {
        0
    }

    async fn best_known(&self) -> Result<Height, Failure> {
        Ok(self.head.borrow().height)
    }

    async fn submit(&self, raw: &[u8]) -> Result<TxHash, Failure> {
        let (pooled, account) = self.admit(raw.into()).await?;
        let hash = pooled.hash;
        let inserted = self.pool().insert(pooled, account);
        inserted.map_err(|why| Failure::refused(why.to_string()))?;
        // There may be no subscriber.
        let _ = self.accepted.send(hash);
        Ok(hash)
    }

    fn accepted(&self) -> broadcast::Receiver<TxHash> {
        self.accepted.subscribe()
    }

    async fn pooled(&self, hash: TxHash) -> Result<Option<PooledTransaction>, Failure> {
        Ok(self.pool().get(&hash).cloned())
    }

    async fn next_nonce(&self, account: Account) -> Result<Option<u64>, Failure> {
        Ok(self.pool().next_nonce(&account))
    }

    async fn pool_counts(&self) -> Result<(usize, usize), Failure> {
        let pool = self.pool();
        let ready = pool.iter().filter(|(_, ready)| *ready).count();
        Ok((ready, pool.len() - ready))
    }

    async fn pooled_of(&self, senders: SenderFilter) -> Result<Vec<(PooledTransaction, bool)>, Failure> {
        Ok(senders.matching(&self.pool()))
    }
}

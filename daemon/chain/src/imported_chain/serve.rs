//! A foreign chain over JSON-RPC: the methods of a node, on a head that stays where it is.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use alloy_primitives::Address;
use consensus::{
    execution::AccountState,
    mempool::{Limits, Mempool, Pooled},
};
use evm::{pool_tx::Door, view::At};
use jsonrpsee::core::async_trait;
use protocol::{Account, Amount, Height, TxHash};
use storage::BlockLog;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::{ForeignBlocks, ForeignChain};
use crate::{
    actor::Head,
    rpc::{
        self,
        failure::Failure,
        ground::{Ground, Whose},
    },
    state::LoggedBlocks,
};
use base::{
    listen::{self, ListenError},
    lock,
};

/// Names of accepted transactions that a slow subscriber may lag behind.
const ACCEPTED: usize = 4096;

/// Why a chain is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It cannot be listened there.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// A foreign chain that is being served.
pub struct Serving {
    /// Where.
    pub address: SocketAddr,
    server: jsonrpsee::server::ServerHandle,
    stop: CancellationToken,
    /// Keeps the home locked.
    _chain: Arc<ForeignChain>,
}

impl Serving {
    /// Stops taking requests and returns when those under way are answered.
    pub async fn stop(self) {
        self.stop.cancel();
        // An error means that it has stopped already.
        let _ = self.server.stop();
        self.server.stopped().await;
    }
}

/// Serves a chain where `settings` say, with every method that a node has and those of `testing_`.
pub async fn serve(chain: ForeignChain, settings: rpc::Settings) -> Result<Serving, ServeError> {
    let chain = Arc::new(chain);
    let ground = Arc::new(Alone::new(&chain));
    let (listener, address) = listen::listen(settings.listen, "--rpc").await?;
    let stop = CancellationToken::new();
    let settings = rpc::Settings {
        testing: true,
        ..settings
    };
    let server = rpc::serve(listener, &settings, ground, &stop).map_err(|source| ListenError::Listen {
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

/// What JSON-RPC stands on here.
struct Alone {
    /// Never changes, and is never closed while this is there.
    head: watch::Sender<Head>,
    log: Arc<BlockLog>,
    door: Arc<Door>,
    pool: Mutex<Mempool>,
    accepted: broadcast::Sender<TxHash>,
}

impl Alone {
    fn new(chain: &ForeignChain) -> Self {
        let tip = chain.ledger.tip();
        let head = Head {
            height: tip.height,
            hash: tip.hash,
            view: chain.ledger.view(Arc::new(ForeignBlocks(chain.log.clone()))),
        };
        Self {
            head: watch::channel(head).0,
            log: chain.log.clone(),
            door: Arc::new(chain.ledger.door()),
            pool: Mutex::new(Mempool::new(Limits::default())),
            accepted: broadcast::channel(ACCEPTED).0,
        }
    }

    fn pool(&self) -> MutexGuard<'_, Mempool> {
        lock::locked(&self.pool)
    }

    /// A transaction as the pool takes it, with its sender's account at the head.
    async fn admit(&self, raw: Arc<[u8]>) -> Result<(Pooled, AccountState), Failure> {
        let (door, view) = (self.door.clone(), self.head.borrow().view.clone());
        let admit = move || {
            let pooled = door.admit(&raw).map_err(|why| Failure::refused(why.to_string()))?;
            let account = view.account(&Address::from(pooled.sender.0), At::Tip)?;
            let account = AccountState {
                nonce: account.nonce,
                balance: Amount(account.balance.saturating_to()),
            };
            Ok((pooled, account))
        };
        let done = tokio::task::spawn_blocking(admit).await;
        done.map_err(|_| Failure::Internal("the transaction could not be looked at".into()))?
    }
}

#[async_trait]
impl Ground for Alone {
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
        let taken = self.pool().insert(pooled, account);
        taken.map_err(|why| Failure::refused(why.to_string()))?;
        // Nobody may be subscribed.
        let _ = self.accepted.send(hash);
        Ok(hash)
    }

    fn accepted(&self) -> broadcast::Receiver<TxHash> {
        self.accepted.subscribe()
    }

    async fn pooled(&self, hash: TxHash) -> Result<Option<Pooled>, Failure> {
        Ok(self.pool().get(&hash).cloned())
    }

    async fn next_nonce(&self, account: Account) -> Result<Option<u64>, Failure> {
        Ok(self.pool().next_nonce(&account))
    }

    async fn waiting_counts(&self) -> Result<(usize, usize), Failure> {
        let pool = self.pool();
        let ready = pool.iter().filter(|(_, ready)| *ready).count();
        Ok((ready, pool.len() - ready))
    }

    async fn waiting(&self, whose: Whose) -> Result<Vec<(Pooled, bool)>, Failure> {
        Ok(whose.copy(&self.pool()))
    }
}

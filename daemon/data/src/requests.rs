//! Requests between nodes about datanets and pins: one request and one reply over a stream of their own.

use std::{sync::Arc, time::Duration};

use bincode::{Decode, Encode};
use futures::future::BoxFuture;
use net::data::{Alpn, ByteStream, DataPlane, StreamHandler};
use protocol::{NodeId, codec};

/// Longest wait for a request to be read, or for a reply.
const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// Reason that a request got no reply.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Open(#[from] net::data::OpenError),
    #[error("the stream to the peer broke")]
    Broken(#[from] std::io::Error),
    #[error("the reply does not decode")]
    Answer(#[from] codec::DecodeError),
    #[error("the peer closed the stream without a reply; it may not serve this request")]
    Ended,
    #[error("no reply within {} s", REPLY_WITHIN.as_secs())]
    Late,
}

/// Sends a request and waits for the reply.
pub(super) async fn send<Q: Encode, A: Decode<()>>(
    plane: &DataPlane,
    node: NodeId,
    kind: &str,
    request: &Q,
    reply_max: usize,
) -> Result<A, RequestError> {
    let exchange = async {
        let mut stream = plane.open(node, &Alpn::stream(kind)).await?;
        stream.write_message(&codec::encode(request)).await?;
        let reply = stream.read_message(reply_max).await?.ok_or(RequestError::Ended)?;
        Ok(codec::decode(&reply, reply_max)?)
    };
    tokio::time::timeout(REPLY_WITHIN, exchange)
        .await
        .map_err(|_| RequestError::Late)?
}

/// Computes the reply to a request from a node; `None` while the node stops.
type Reply<Q, A> = dyn Fn(NodeId, Q) -> BoxFuture<'static, Option<A>> + Send + Sync;

/// Handles requests of one kind while the node runs. Any node may send one; the reply function decides what it gets.
pub(super) struct RequestHandler<Q, A> {
    pub(super) kind: &'static str,
    request_max: usize,
    reply: Arc<Reply<Q, A>>,
}

impl<Q, A> RequestHandler<Q, A> {
    /// Makes a handler for streams named `kind`. `reply` must hold only weak references to the part it serves: the data
    /// plane holds the handler, and the part holds the data plane.
    pub(super) fn new(
        kind: &'static str,
        request_max: usize,
        reply: impl Fn(NodeId, Q) -> BoxFuture<'static, Option<A>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            kind,
            request_max,
            reply: Arc::new(reply),
        }
    }
}

impl<Q: Decode<()> + Send + 'static, A: Encode + Send + Sync + 'static> StreamHandler for RequestHandler<Q, A> {
    fn may_connect(&self, _node: NodeId) -> bool {
        true
    }

    fn handle(&self, stream: ByteStream) -> BoxFuture<'static, ()> {
        let (request_max, reply) = (self.request_max, self.reply.clone());
        Box::pin(async move { serve(stream, request_max, |peer, request| reply(peer, request)).await })
    }
}

/// Reads one request and sends the reply. A slow peer, or one whose request does not decode, gets none.
async fn serve<Q: Decode<()>, A: Encode, F: Future<Output = Option<A>>>(
    mut stream: ByteStream,
    request_max: usize,
    reply: impl FnOnce(NodeId, Q) -> F,
) {
    let reading = tokio::time::timeout(REPLY_WITHIN, stream.read_message(request_max));
    let Ok(Ok(Some(bytes))) = reading.await else { return };
    let Ok(request) = codec::decode(&bytes, request_max) else {
        return;
    };
    let Some(reply) = reply(stream.peer, request).await else {
        return;
    };
    let reply = codec::encode(&reply);
    let sending = async {
        stream.write_message(&reply).await?;
        stream.finish().await
    };
    // A peer that is gone or slow sends its request again if it still needs the reply.
    drop(tokio::time::timeout(REPLY_WITHIN, sending).await);
}

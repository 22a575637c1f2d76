//! One question and one answer over a stream of their own: how nodes talk about datanets and pins.

use std::{sync::Arc, time::Duration};

use bincode::{Decode, Encode};
use futures::future::BoxFuture;
use net::data::{Alpn, ByteStream, DataPlane, StreamHandler};
use protocol::{NodeId, codec};

/// How long a peer may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    /// It cannot be reached.
    #[error(transparent)]
    Open(#[from] net::data::OpenError),
    /// The stream broke.
    #[error("the stream broke")]
    Broken(#[from] std::io::Error),
    /// What came is no answer.
    #[error("what came is no answer")]
    Answer(#[from] codec::DecodeError),
    /// The stream ended before there was an answer.
    #[error("the stream ended without an answer")]
    Ended,
    /// Nothing came in time.
    #[error("nothing came within {} s", ANSWER_WITHIN.as_secs())]
    Late,
}

/// Asks one thing.
pub(super) async fn ask<Q: Encode, A: Decode<()>>(
    plane: &DataPlane,
    node: NodeId,
    kind: &str,
    question: &Q,
    answer_max: usize,
) -> Result<A, TalkError> {
    let asking = async {
        let mut stream = plane.open(node, &Alpn::stream(kind)).await?;
        stream.write_message(&codec::encode(question)).await?;
        let answer = stream.read_message(answer_max).await?.ok_or(TalkError::Ended)?;
        Ok(codec::decode(&answer, answer_max)?)
    };
    tokio::time::timeout(ANSWER_WITHIN, asking)
        .await
        .map_err(|_| TalkError::Late)?
}

/// What a question is answered with; none once the node ends.
type Reply<Q, A> = dyn Fn(NodeId, Q) -> BoxFuture<'static, Option<A>> + Send + Sync;

/// Answers the questions of one kind, while the node runs. Anybody may ask; whoever answers judges who asked.
pub(super) struct Desk<Q, A> {
    /// The stream's name.
    pub(super) kind: &'static str,
    question_max: usize,
    reply: Arc<Reply<Q, A>>,
}

impl<Q, A> Desk<Q, A> {
    /// Answers with `reply` what is asked over streams called `kind`. It holds no strong reference to a room: the plane
    /// holds the desk, and the room holds the plane.
    pub(super) fn new(
        kind: &'static str,
        question_max: usize,
        reply: impl Fn(NodeId, Q) -> BoxFuture<'static, Option<A>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            kind,
            question_max,
            reply: Arc::new(reply),
        }
    }
}

impl<Q: Decode<()> + Send + 'static, A: Encode + Send + Sync + 'static> StreamHandler for Desk<Q, A> {
    fn may_connect(&self, _node: NodeId) -> bool {
        true
    }

    fn handle(&self, stream: ByteStream) -> BoxFuture<'static, ()> {
        let (question_max, reply) = (self.question_max, self.reply.clone());
        Box::pin(async move { answer(stream, question_max, |peer, question| reply(peer, question)).await })
    }
}

/// Reads one question and sends what it is answered with. A peer that is slow or speaks otherwise is not answered.
async fn answer<Q: Decode<()>, A: Encode, F: Future<Output = Option<A>>>(
    mut stream: ByteStream,
    question_max: usize,
    reply: impl FnOnce(NodeId, Q) -> F,
) {
    let reading = tokio::time::timeout(ANSWER_WITHIN, stream.read_message(question_max));
    let Ok(Ok(Some(bytes))) = reading.await else { return };
    let Ok(question) = codec::decode(&bytes, question_max) else {
        return;
    };
    let Some(answer) = reply(stream.peer, question).await else {
        return;
    };
    let answer = codec::encode(&answer);
    let sending = async {
        stream.write_message(&answer).await?;
        stream.finish().await
    };
    // The peer is gone or slow; it asks again if it cares.
    drop(tokio::time::timeout(ANSWER_WITHIN, sending).await);
}

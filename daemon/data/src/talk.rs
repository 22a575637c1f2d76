//! One question and one answer over a stream of their own: how nodes talk about datanets and pins.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bincode::{Decode, Encode};
use futures::future::BoxFuture;
use net::data::{Alpn, ByteStream, DataPlane, StreamHandler};
use protocol::{NodeId, codec};

use super::{Data, Inner};

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

/// Answers the questions of one kind, while the node runs. Anybody may ask; whoever answers judges who asked.
pub(super) struct Desk<Q, A> {
    kind: &'static str,
    question_max: usize,
    data: Weak<Inner>,
    reply: fn(Data, NodeId, Q) -> BoxFuture<'static, A>,
}

/// A desk whatever it speaks of.
pub(super) trait Named: StreamHandler {
    /// The stream's name.
    fn kind(&self) -> &'static str;
}

impl<Q, A> Desk<Q, A> {
    /// Answers with `reply` what is asked over streams called `kind`.
    pub(super) fn new(
        kind: &'static str,
        question_max: usize,
        data: &Data,
        reply: fn(Data, NodeId, Q) -> BoxFuture<'static, A>,
    ) -> Arc<Self> {
        Arc::new(Self {
            kind,
            question_max,
            data: Arc::downgrade(&data.0),
            reply,
        })
    }
}

impl<Q: Decode<()> + Send + 'static, A: Encode + Send + Sync + 'static> Named for Desk<Q, A> {
    fn kind(&self) -> &'static str {
        self.kind
    }
}

impl<Q: Decode<()> + Send + 'static, A: Encode + Send + Sync + 'static> StreamHandler for Desk<Q, A> {
    fn may_connect(&self, _node: NodeId) -> bool {
        true
    }

    fn converse(&self, stream: ByteStream) -> BoxFuture<'static, ()> {
        let (data, question_max, reply) = (self.data.clone(), self.question_max, self.reply);
        Box::pin(async move {
            let Some(data) = data.upgrade().map(Data) else { return };
            answer(stream, question_max, |peer, question| reply(data, peer, question)).await;
        })
    }
}

/// Reads one question and sends what it is answered with. A peer that is slow or speaks otherwise is not answered.
async fn answer<Q: Decode<()>, A: Encode, F: Future<Output = A>>(
    mut stream: ByteStream,
    question_max: usize,
    reply: impl FnOnce(NodeId, Q) -> F,
) {
    let reading = tokio::time::timeout(ANSWER_WITHIN, stream.read_message(question_max));
    let Ok(Ok(Some(bytes))) = reading.await else { return };
    let Ok(question) = codec::decode(&bytes, question_max) else {
        return;
    };
    let answer = codec::encode(&reply(stream.peer, question).await);
    let sending = async {
        stream.write_message(&answer).await?;
        stream.finish().await
    };
    // The peer is gone or slow; it asks again if it cares.
    drop(tokio::time::timeout(ANSWER_WITHIN, sending).await);
}

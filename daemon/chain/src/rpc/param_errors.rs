//! What a caller is told when parameters cannot be read: in the message, where people and programs look, and not in a
//! field of its own beside the words "Invalid params".

use jsonrpsee::{
    BatchResponseBuilder, MethodResponse,
    core::middleware::{Batch, BatchEntry, Notification, Request, RpcServiceT},
    types::{ErrorObject, Id, error::INVALID_PARAMS_CODE},
};
use serde::Deserialize;

use super::ANSWER_BYTES_MAX;

/// The layer around all methods.
#[derive(Clone)]
pub(crate) struct Unread<S>(pub(crate) S);

#[derive(Deserialize)]
struct Refused {
    error: Why,
}

#[derive(Deserialize)]
struct Why {
    data: Option<String>,
}

/// The same refusal, with its reason as the message.
fn reworded(id: Id<'_>, response: MethodResponse) -> MethodResponse {
    if response.as_error_code() != Some(INVALID_PARAMS_CODE) {
        return response;
    }
    let Ok(Refused {
        error: Why { data: Some(why) },
    }) = serde_json::from_str(response.as_json().get())
    else {
        return response;
    };
    let error = ErrorObject::owned(INVALID_PARAMS_CODE, format!("invalid params: {why}"), None::<()>);
    MethodResponse::error(id, error).with_extensions(response.extensions().clone())
}

impl<S> RpcServiceT for Unread<S>
where
    S: RpcServiceT<
            MethodResponse = MethodResponse,
            NotificationResponse = MethodResponse,
            BatchResponse = MethodResponse,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let (id, inner) = (request.id.clone(), self.0.clone());
        async move { reworded(id, inner.call(request).await) }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let all = self.clone();
        async move {
            let mut answers = BatchResponseBuilder::new_with_limit(ANSWER_BYTES_MAX as usize);
            let mut told = false;
            for entry in batch {
                let answer = match entry {
                    Ok(BatchEntry::Call(request)) => all.call(request).await,
                    Ok(BatchEntry::Notification(notification)) => {
                        told = true;
                        all.notification(notification).await;
                        continue;
                    }
                    Err(malformed) => {
                        let (why, id) = malformed.into_parts();
                        MethodResponse::error(id, why)
                    }
                };
                if let Err(too_long) = answers.append(answer) {
                    return too_long;
                }
            }
            if answers.is_empty() && told {
                MethodResponse::notification()
            } else {
                MethodResponse::from_batch(answers.finish())
            }
        }
    }

    fn notification<'a>(&self, notification: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.0.notification(notification)
    }
}

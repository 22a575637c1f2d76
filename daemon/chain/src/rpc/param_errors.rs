//! A layer that puts the reason for invalid parameters into the error message, where people and programs look. The
//! server by itself says "Invalid params" and puts the reason into `data`.

use jsonrpsee::{
    BatchResponseBuilder, MethodResponse,
    core::middleware::{Batch, BatchEntry, Notification, Request, RpcServiceT},
    types::{ErrorObject, Id, error::INVALID_PARAMS_CODE},
};
use serde::Deserialize;

use super::ANSWER_BYTES_MAX;

/// The layer around all methods.
#[derive(Clone)]
pub(crate) struct ParamErrors<S>(pub(crate) S);

#[derive(Deserialize)]
struct Response {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    data: Option<String>,
}

/// The same error response with its reason in the message.
fn with_reason(id: Id<'_>, response: MethodResponse) -> MethodResponse {
    if response.as_error_code() != Some(INVALID_PARAMS_CODE) {
        return response;
    }
    let Ok(Response {
        error: ErrorBody { data: Some(why) },
    }) = serde_json::from_str(response.as_json().get())
    else {
        return response;
    };
    let error = ErrorObject::owned(INVALID_PARAMS_CODE, format!("invalid params: {why}"), None::<()>);
    MethodResponse::error(id, error).with_extensions(response.extensions().clone())
}

impl<S> RpcServiceT for ParamErrors<S>
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
        async move { with_reason(id, inner.call(request).await) }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let all = self.clone();
        async move {
            let mut answers = BatchResponseBuilder::new_with_limit(ANSWER_BYTES_MAX as usize);
            let mut notified = false;
            for entry in batch {
                let answer = match entry {
                    Ok(BatchEntry::Call(request)) => all.call(request).await,
                    Ok(BatchEntry::Notification(notification)) => {
                        notified = true;
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
            if answers.is_empty() && notified {
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

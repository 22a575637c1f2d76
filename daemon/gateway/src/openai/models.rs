//! Listing models, and loading and unloading adapters.
//!
//! `GET /v1/models[?limit=N&after=ID]`, `GET /v1/models/ID`, `GET /v1/lora_adapters[?limit=N&after=NAME]`,
//! `POST /v1/load_lora_adapter {lora_name, lora_path, load_inplace?, expected_generation?}`,
//! `POST /v1/unload_lora_adapter {lora_name, expected_generation?}`. The path is relative to the adapter directory, or
//! within it. A taken name is replaced only with `load_inplace` or a matching `expected_generation`; 0 expects none.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};
use serve::{
    process::{Admin, AdminError, Reply},
    tier::{Status, Tier},
};

use super::{Serving, error::ApiError, fields::Fields};

/// Most models in one response, and the default: clients that do not paginate get them all.
const CARDS_MAX: usize = 100_000;
/// Most adapters in one status response, because the header of each is read.
const STATUS_MAX: usize = 500;

/// Pagination of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    limit: Option<usize>,
    after: Option<String>,
}

impl Page {
    fn limit(&self, most: usize) -> Result<usize, ApiError> {
        match self.limit {
            None => Ok(most),
            Some(limit) if (1..=most).contains(&limit) => Ok(limit),
            Some(limit) => {
                let why = format!("is {limit}, it must be between 1 and {most}");
                Err(ApiError::field("limit", why))
            }
        }
    }
}

/// `GET /v1/models`: the base first, then adapters in order of names.
pub(super) async fn list(
    State(serving): State<Arc<Serving>>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let limit = page.limit(CARDS_MAX)?;
    let mut cards = Vec::new();
    let mut room = limit;
    if page.after.is_none() {
        cards.push(serving.card());
        room -= 1;
    }
    let after = page.after.filter(|after| *after != serving.names.base);
    // One more than asked for shows if there are more.
    let mut adapters = serving.engine.names(after, room + 1).await?;
    let more = adapters.len() > room;
    adapters.truncate(room);
    cards.extend(
        adapters
            .iter()
            .map(|(name, hash)| serving.adapter_card(name, hash.as_deref())),
    );
    Ok(Json(json!({
        "object": "list",
        "first_id": cards.first().map(|card| card["id"].clone()),
        "last_id": cards.last().map(|card| card["id"].clone()),
        "data": cards,
        "has_more": more,
    })))
}

/// `GET /v1/models/ID`.
pub(super) async fn one(
    State(serving): State<Arc<Serving>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let Some(adapter) = serving.names.adapter(&name) else {
        return Ok(Json(serving.card()));
    };
    let status = Admin::Status {
        name: adapter.to_owned(),
    };
    match serving.engine.admin(status).await {
        Ok(Reply::List(found)) => Ok(Json(serving.adapter_card(&found[0].name, found[0].hash.as_deref()))),
        Ok(other) => unreachable!("a status is answered with {other:?}"),
        Err(AdminError::Unknown(_) | AdminError::Refused(_)) => Err(ApiError::unknown_model(&name)),
        Err(error) => Err(error.into()),
    }
}

/// `GET /v1/lora_adapters`.
pub(super) async fn adapters(
    State(serving): State<Arc<Serving>>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let limit = page.limit(STATUS_MAX)?;
    let mut found = serving.engine.list(page.after, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let data: Vec<Value> = found.iter().map(told).collect();
    Ok(Json(json!({ "object": "list", "data": data, "has_more": more })))
}

fn told(status: &Status) -> Value {
    let tier = match status.tier {
        Tier::Device => "device",
        Tier::Host => "host",
        Tier::Disk => "disk",
        Tier::Peer => "peer",
    };
    json!({
        "name": status.name,
        "generation": status.generation,
        "hash": status.hash,
        "rank": status.rank,
        "bytes": status.bytes,
        "tier": tier,
        "pinned": status.pinned,
        "fault": status.fault,
    })
}

/// `POST /v1/load_lora_adapter`.
pub(super) async fn load(State(serving): State<Arc<Serving>>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let fields = Fields::read(&body)?;
    let name = needed(&fields, "lora_name")?;
    let path = needed(&fields, "lora_path")?;
    if name == serving.names.base {
        return Err(ApiError::field("lora_name", "is the name of the base model"));
    }
    let in_place = fields.flag("load_inplace")?;
    let expected = fields.get("expected_generation", "a whole number from 0")?;
    let expected = expected.or((!in_place).then_some(0));
    let generation = serving
        .engine
        .load(&name, &path, expected)
        .await
        .map_err(|error| about(error, "lora_path"))?;
    Ok(Json(json!({
        "status": "success",
        "message": format!("Success: LoRA adapter '{name}' added successfully"),
        "lora_name": name,
        "generation": generation,
    })))
}

/// `POST /v1/unload_lora_adapter`.
pub(super) async fn unload(State(serving): State<Arc<Serving>>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let fields = Fields::read(&body)?;
    let name = needed(&fields, "lora_name")?;
    let expected = fields.get("expected_generation", "a whole number from 0")?;
    serving
        .engine
        .unload(&name, expected)
        .await
        .map_err(|error| about(error, "lora_name"))?;
    Ok(Json(json!({
        "status": "success",
        "message": format!("Success: LoRA adapter '{name}' removed successfully"),
        "lora_name": name,
    })))
}

fn needed(fields: &Fields, name: &str) -> Result<String, ApiError> {
    fields
        .get(name, "a text")?
        .ok_or_else(|| ApiError::field(name, "is missing"))
}

fn about(error: AdminError, field: &str) -> ApiError {
    let field = match error {
        AdminError::Generation { .. } => "expected_generation",
        AdminError::Unknown(_) => "lora_name",
        AdminError::Refused(_) | AdminError::Down(_) => field,
    };
    let error = ApiError::from(error);
    error.about(field)
}

impl Serving {
    fn card(&self) -> Value {
        json!({
            "id": self.names.base,
            "object": "model",
            "created": self.started_s,
            "owned_by": "openledger",
            "root": self.base,
            "parent": null,
            "max_model_len": self.context_tokens_max,
        })
    }

    /// The content hash identifies an adapter; it is unknown until the adapter was read once.
    fn adapter_card(&self, name: &str, hash: Option<&str>) -> Value {
        json!({
            "id": name,
            "object": "model",
            "created": self.started_s,
            "owned_by": "openledger",
            "root": hash,
            "parent": self.names.base,
            "max_model_len": self.context_tokens_max,
        })
    }
}

/// The handler of unknown paths.
pub(super) async fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "there is nothing here; see /v1/models").coded("not_found")
}

//! The runner's own code that parks a flow on Redis, finds it and clears it.

use std::time::Duration;

use greentic_runner_host::engine::runtime::{FlowResumeStore, IngressEnvelope};
use greentic_runner_host::runner::engine::{FlowSnapshot, FlowWait};
use greentic_runner_host::storage::{SessionBackend, session_store_from_config};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Failure;

/// Where a runner's sessions are.
#[derive(Deserialize)]
pub struct Place {
    url: String,
    namespace: String,
    wait_ttl_secs: Option<u64>,
}

impl Place {
    fn store(&self) -> Result<FlowResumeStore, Failure> {
        let ttl = self.wait_ttl_secs.map(Duration::from_secs);
        let backend = SessionBackend::redis_with_ttl(&self.url, &self.namespace, ttl)?;
        Ok(FlowResumeStore::new(session_store_from_config(&backend)?))
    }
}

/// A flow that is to wait. The crate's own type is not read from JSON.
#[derive(Deserialize)]
pub struct Wait {
    reason: Option<String>,
    snapshot: FlowSnapshot,
}

impl From<Wait> for FlowWait {
    fn from(wait: Wait) -> Self {
        Self {
            reason: wait.reason,
            snapshot: wait.snapshot,
        }
    }
}

#[derive(Deserialize)]
pub struct Saved {
    #[serde(flatten)]
    place: Place,
    envelope: IngressEnvelope,
    wait: Wait,
}

#[derive(Deserialize)]
pub struct Asked {
    #[serde(flatten)]
    place: Place,
    envelope: IngressEnvelope,
}

pub async fn save(args: Saved) -> Result<Value, Failure> {
    let store = args.place.store()?;
    let scope = store
        .save(&args.envelope.canonicalize(), &args.wait.into())
        .await?;
    Ok(json!(scope))
}

pub async fn fetch(args: Asked) -> Result<Value, Failure> {
    let store = args.place.store()?;
    Ok(json!(store.fetch(&args.envelope.canonicalize()).await?))
}

pub async fn clear(args: Asked) -> Result<Value, Failure> {
    let store = args.place.store()?;
    store.clear(&args.envelope.canonicalize()).await?;
    Ok(Value::Null)
}

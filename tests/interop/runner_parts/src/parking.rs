//! The runner's own code that parks a flow on Redis, finds it and clears it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Failure;
use crate::runner::{
    DynSessionStore, FlowResumeStore, FlowSnapshot, FlowWait, IngressEnvelope, SessionBackend,
    mark_welcome, store_from_config,
};

/// Where a runner stores its sessions.
#[derive(Deserialize)]
pub struct Place {
    url: String,
    namespace: String,
    wait_ttl_secs: Option<u64>,
}

impl Place {
    fn store(&self) -> Result<DynSessionStore, Failure> {
        let ttl = self.wait_ttl_secs.map(Duration::from_secs);
        let backend = SessionBackend::redis_with_ttl(&self.url, &self.namespace, ttl)?;
        Ok(store_from_config(&backend)?)
    }

    fn runner(&self) -> Result<FlowResumeStore, Failure> {
        Ok(FlowResumeStore::new(self.store()?))
    }
}

/// A flow to park. The crate's own type cannot be read from JSON.
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
    let runner = args.place.runner()?;
    let scope = runner
        .save(&args.envelope.canonicalize(), &args.wait.into())
        .await?;
    Ok(json!(scope))
}

pub async fn fetch(args: Asked) -> Result<Value, Failure> {
    let runner = args.place.runner()?;
    Ok(json!(runner.fetch(&args.envelope.canonicalize()).await?))
}

pub async fn clear(args: Asked) -> Result<Value, Failure> {
    let runner = args.place.runner()?;
    runner.clear(&args.envelope.canonicalize()).await?;
    Ok(Value::Null)
}

/// Mark the user of a message as greeted. Return whether there was no mark yet.
pub async fn greet(args: Asked) -> Result<Value, Failure> {
    let greets = mark_welcome(&args.place.store()?, &args.envelope.canonicalize()).await?;
    Ok(json!(greets))
}

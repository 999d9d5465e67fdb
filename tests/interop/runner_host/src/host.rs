//! A whole runner: a host that loads a pack, takes messages and runs its flows, on Redis.
//!
//! It finds its storage by its environment, as a deployed one does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use greentic_runner_host::{Activity, HostBuilder, HostConfig, RunnerHost};
use greentic_types::{PackManifest, encode_pack_manifest};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Failure;

/// A message to a tenant's flows.
#[derive(Deserialize)]
pub struct Turn {
    tenant: String,
    folder: PathBuf,
    activity: Activity,
}

/// A host for each tenant, made when it is first needed.
#[derive(Default)]
pub struct Hosts {
    by_tenant: BTreeMap<String, RunnerHost>,
}

impl Hosts {
    /// Handle one message as the runner does; give its replies.
    pub async fn turn(&mut self, turn: Turn) -> Result<Value, Failure> {
        if !self.by_tenant.contains_key(&turn.tenant) {
            let host = open(&turn.tenant, &turn.folder).await?;
            self.by_tenant.insert(turn.tenant.clone(), host);
        }
        let host = &self.by_tenant[&turn.tenant];
        let replies = host.handle_activity(&turn.tenant, turn.activity).await?;
        Ok(json!(
            replies.iter().map(Activity::payload).collect::<Vec<_>>()
        ))
    }
}

async fn open(tenant: &str, folder: &Path) -> Result<RunnerHost, Failure> {
    let bindings = folder.join("bindings.yaml");
    fs::write(&bindings, format!("tenant: {tenant}\n"))?;
    let pack = folder.join("pack");
    fs::create_dir_all(&pack)?;
    fs::write(
        pack.join("manifest.cbor"),
        encode_pack_manifest(&manifest()?)?,
    )?;
    let host = HostBuilder::new()
        .with_config(HostConfig::load_from_path(&bindings)?)
        .build()?;
    host.load_pack(tenant, &pack).await?;
    Ok(host)
}

/// A pack that books a table: it asks for the day, then for how many, then it answers.
fn manifest() -> Result<PackManifest, Failure> {
    let waits = |reason: &str, next: &str| {
        json!({
            "component": "session.wait",
            "input": { "reason": reason },
            "routing": { "next": { "node_id": next } },
        })
    };
    let says = |text: &str| json!({ "component": "emit.response", "input": { "text": text }, "routing": "end" });
    let booking = json!({
        "id": "booking",
        "flow_type": "messaging",
        "start": "ask_day",
        "nodes": {
            "ask_day": waits("which day", "ask_people"),
            "ask_people": waits("how many", "book"),
            "book": says("booked {{vars.day}} for {{entry.text}}"),
        },
    });
    let greeting = json!({
        "id": "greeting",
        "flow_type": "messaging",
        "start": "greet",
        "nodes": { "greet": says("welcome") },
    });
    const FLOWS: &str = "greentic.pack.runtime_flow";
    Ok(serde_json::from_value(json!({
        "schema_version": "1.0",
        "pack_id": "tables",
        "version": "0.0.0",
        "kind": "application",
        "publisher": "tests",
        "extensions": {
            FLOWS: { "kind": FLOWS, "version": "2.0.0", "inline": { "flows": [booking, greeting] } },
        },
    }))?)
}

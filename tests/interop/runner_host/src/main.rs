//! A process with the crate `greentic-runner-host`, for the tests to drive.
//!
//! One JSON command a line on stdin, one JSON reply a line on stdout, as of `rust_peer`: a command
//! is `{"op": ..., "args": {...}}`, a reply `{"ok": ...}` or `{"error": {"code": ..., ...}}`.

mod calls;
mod host;
mod parking;
mod settings;

use std::io::{BufRead, Write, stdin, stdout};

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Command {
    op: String,
    #[serde(default)]
    args: Value,
}

const LOCK: &str = include_str!("../Cargo.lock");

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut hosts = host::Hosts::default();
    let mut replies = stdout().lock();
    for line in stdin().lock().lines() {
        let reply = match runtime.block_on(answer(&mut hosts, &line?)) {
            Ok(result) => json!({ "ok": result }),
            Err(error) => json!({ "error": { "code": "refused", "message": error.to_string() } }),
        };
        writeln!(replies, "{reply}")?;
        replies.flush()?;
    }
    Ok(())
}

/// Whatever goes wrong is told as text.
type Failure = Box<dyn std::error::Error>;

async fn answer(hosts: &mut host::Hosts, line: &str) -> Result<Value, Failure> {
    let Command { op, args } = serde_json::from_str(line)?;
    match op.as_str() {
        "versions" => Ok(versions()),
        "settings" => Ok(settings::resolve(&serde_json::from_value(args)?)),
        "calls" => calls::recorded(serde_json::from_value(args)?).await,
        "save" => parking::save(serde_json::from_value(args)?).await,
        "fetch" => parking::fetch(serde_json::from_value(args)?).await,
        "clear" => parking::clear(serde_json::from_value(args)?).await,
        "turn" => hosts.turn(serde_json::from_value(args)?).await,
        _ => Err("no such operation".into()),
    }
}

/// The versions of the crates that decide what is recorded.
fn versions() -> Value {
    let named = |crate_name: &str| {
        let start = LOCK
            .split(&format!("name = \"{crate_name}\"\nversion = \""))
            .nth(1);
        start.and_then(|rest| rest.split('"').next())
    };
    let crates = ["greentic-runner-host", "greentic-session", "greentic-types"];
    crates
        .iter()
        .map(|name| (name.to_string(), json!(named(name))))
        .collect()
}

//! A process with parts of the crate `greentic-runner-host`, which the tests drive.
//!
//! It reads one JSON command per line from stdin, and writes one JSON reply per line to stdout,
//! like `rust_peer`. A command is `{"op": ..., "args": {...}}`. A reply is `{"ok": ...}` or
//! `{"error": {"code": ..., ...}}`.

mod calls;
mod parking;
mod runner;
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

/// Any error: the reply contains its text.
type Failure = Box<dyn std::error::Error>;

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut replies = stdout().lock();
    for line in stdin().lock().lines() {
        let reply = match runtime.block_on(answer(&line?)) {
            Ok(result) => json!({ "ok": result }),
            Err(error) => json!({ "error": { "code": "refused", "message": error.to_string() } }),
        };
        writeln!(replies, "{reply}")?;
        replies.flush()?;
    }
    Ok(())
}

async fn answer(line: &str) -> Result<Value, Failure> {
    let Command { op, args } = serde_json::from_str(line)?;
    match op.as_str() {
        "settings" => Ok(settings::resolve(&serde_json::from_value(args)?)),
        "calls" => calls::recorded(serde_json::from_value(args)?).await,
        "save" => parking::save(serde_json::from_value(args)?).await,
        "fetch" => parking::fetch(serde_json::from_value(args)?).await,
        "clear" => parking::clear(serde_json::from_value(args)?).await,
        "greet" => parking::greet(serde_json::from_value(args)?).await,
        _ => Err("no such operation".into()),
    }
}

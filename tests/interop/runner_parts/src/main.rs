//! A process with parts of the crate `greentic-runner-host`, for the tests to drive.
//!
//! One JSON command a line on stdin, one JSON reply a line on stdout, as of `rust_peer`: a command
//! is `{"op": ..., "args": {...}}`, a reply `{"ok": ...}` or `{"error": {"code": ..., ...}}`.

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

/// Whatever goes wrong is told as text.
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

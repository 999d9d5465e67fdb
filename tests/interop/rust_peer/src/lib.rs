//! A process with the crate `greentic-session`, which the tests drive.
//!
//! A command is `{"op": ..., "store": ..., "args": {...}}`. Only operations on a store have
//! `store`. A reply is `{"ok": result}` or `{"error": {"code": ..., "message": ...}}`. The code is
//! one of the crate's, or `unreadable` for JSON that its types refuse, or `panic`.

mod reply;
mod stores;
mod types;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;
use serde_json::value::RawValue;

pub use reply::{Failure, Reply};
pub use stores::{Backend, Stores, open};

/// A command whose arguments are not parsed yet, because their types depend on the operation.
#[derive(Deserialize)]
struct Command<'a> {
    op: &'a str,
    #[serde(default)]
    store: &'a str,
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
}

/// Answers commands, and keeps the stores that they opened.
#[derive(Default)]
pub struct Peer {
    stores: Stores,
}

impl Peer {
    /// Return the reply to one line, as JSON without a newline.
    pub fn answer(&mut self, line: &str) -> String {
        let reply = catch_unwind(AssertUnwindSafe(|| self.run(line)));
        match reply.unwrap_or_else(|_| Err(Failure::panic())) {
            Ok(result) => format!(r#"{{"ok":{result}}}"#),
            Err(failure) => format!(r#"{{"error":{}}}"#, reply::json(&failure)),
        }
    }

    fn run(&mut self, line: &str) -> Reply {
        let command: Command = reply::read(line)?;
        let args = command.args.map_or("{}", RawValue::get);
        match command.op {
            "versions" => Ok(reply::json(&types::versions())),
            "open" => self.stores.open(command.store, args),
            "close" => self.stores.close(command.store),
            op if types::knows(op) => types::run(op, args),
            op => self.stores.run(command.store, op, args),
        }
    }
}

//! JSON in, JSON out, and what can go wrong in between.

use greentic_session::{ErrorCode, GreenticError};
use serde::{Deserialize, Serialize};

/// A result as JSON, or the reason why there is none.
pub type Reply = Result<String, Failure>;

#[derive(Debug, Serialize)]
pub struct Failure {
    code: String,
    message: String,
}

impl Failure {
    pub fn unreadable(message: impl ToString) -> Self {
        Self::new("unreadable", message)
    }

    pub fn panic() -> Self {
        Self::new("panic", "the crate panicked")
    }

    fn new(code: impl Into<String>, message: impl ToString) -> Self {
        Self {
            code: code.into(),
            message: message.to_string(),
        }
    }
}

impl From<GreenticError> for Failure {
    fn from(error: GreenticError) -> Self {
        Self::new(wire_name(error.code), error.message)
    }
}

fn wire_name(code: ErrorCode) -> String {
    json(&code).trim_matches('"').to_owned()
}

/// Read a value from JSON.
pub fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(Failure::unreadable)
}

/// Write a value as JSON.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("what the peer replies can be written as JSON")
}

//! Operations on the wire types and on keys; they need no store.

use std::collections::BTreeMap;

use greentic_session::mapping::{telegram_update_to_session_key, webhook_to_session_key};
use greentic_types::{
    EnvId, ErrorCode, FlowId, Impersonation, InvocationDeadline, PackId, ReplyScope, SessionCursor,
    SessionData, SessionKey, TeamId, TenantCtx, TenantId, UserId, canonical_session_key,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::reply::{Failure, Reply, json, read};

const LOCK: &str = include_str!("../Cargo.lock");

/// JSON texts of one type, which has the crate's name for it.
#[derive(Deserialize)]
struct Texts {
    #[serde(rename = "type")]
    kind: String,
    texts: Vec<String>,
}

#[derive(Deserialize)]
struct Joined {
    function: String,
    parts: Vec<Option<String>>,
}

/// The versions of the crates that this peer was built with.
pub fn versions() -> BTreeMap<&'static str, &'static str> {
    let value = |line: &'static str| line.split('"').nth(1);
    let lines: Vec<&str> = LOCK.lines().collect();
    lines
        .windows(2)
        .filter(|pair| pair[0].starts_with("name = \"greentic-"))
        .filter_map(|pair| Some((value(pair[0])?, value(pair[1])?)))
        .collect()
}

pub fn knows(op: &str) -> bool {
    matches!(op, "rewrite" | "equal" | "scope_hash" | "key")
}

pub fn run(op: &str, args: &str) -> Reply {
    match op {
        "rewrite" => with_type(args, Use::Rewrite),
        "equal" => with_type(args, Use::Compare),
        "scope_hash" => Ok(json(&read::<ReplyScope>(args)?.scope_hash())),
        _ => key(&read(args)?),
    }
}

/// What to do with values: write each one again, or report whether all are equal.
#[derive(Clone, Copy)]
enum Use {
    Rewrite,
    Compare,
}

fn with_type(args: &str, what: Use) -> Reply {
    let Texts { kind, texts } = read(args)?;
    match kind.as_str() {
        "EnvId" => apply::<EnvId>(&texts, what),
        "TenantId" => apply::<TenantId>(&texts, what),
        "TeamId" => apply::<TeamId>(&texts, what),
        "UserId" => apply::<UserId>(&texts, what),
        "FlowId" => apply::<FlowId>(&texts, what),
        "PackId" => apply::<PackId>(&texts, what),
        "SessionKey" => apply::<SessionKey>(&texts, what),
        "ErrorCode" => apply::<ErrorCode>(&texts, what),
        "InvocationDeadline" => apply::<InvocationDeadline>(&texts, what),
        "Impersonation" => apply::<Impersonation>(&texts, what),
        "TenantCtx" => apply::<TenantCtx>(&texts, what),
        "SessionCursor" => apply::<SessionCursor>(&texts, what),
        "SessionData" => apply::<SessionData>(&texts, what),
        "ReplyScope" => apply::<ReplyScope>(&texts, what),
        _ => Err(Failure::unreadable("no such type")),
    }
}

fn apply<T: DeserializeOwned + Serialize + PartialEq>(texts: &[String], what: Use) -> Reply {
    let values: Vec<T> = texts
        .iter()
        .map(|text| read(text))
        .collect::<Result<_, _>>()?;
    Ok(match what {
        Use::Rewrite => json(&values.iter().map(json).collect::<Vec<_>>()),
        Use::Compare => json(&values.windows(2).all(|pair| pair[0] == pair[1])),
    })
}

fn key(joined: &Joined) -> Reply {
    let parts: Vec<_> = joined.parts.iter().map(Option::as_deref).collect();
    let key = match (joined.function.as_str(), parts.as_slice()) {
        ("telegram", [Some(bot), Some(chat), Some(user)]) => {
            telegram_update_to_session_key(bot, chat, user)
        }
        ("webhook", [Some(source), Some(subject), Some(hint)]) => {
            webhook_to_session_key(source, subject, hint)
        }
        ("canonical", [Some(tenant), Some(provider), anchor, user]) => {
            canonical_session_key(tenant, provider, *anchor, *user)
        }
        _ => return Err(Failure::unreadable("no such function of such parts")),
    };
    Ok(json(&key))
}

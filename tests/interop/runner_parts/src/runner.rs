//! Unchanged parts of `greentic-runner-host`. `build.rs` lists them.
#![allow(dead_code, deprecated, reason = "the rest of the crate uses them")]

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use greentic_session::inmemory::InMemorySessionStore;
use greentic_session::{SessionData, SessionKey as StoreSessionKey, SessionResult, SessionStore};
use greentic_types::{
    EnvId, FlowId, GreenticError, PackId, ReplyScope, SessionCursor as TypesSessionCursor,
    TenantCtx, TenantId, UserId,
};
use rand::{RngExt, rng};
use serde::{Deserialize, Serialize};
use serde_json::{Map as JsonMap, Value};
use sha2::{Digest, Sha256};
use thiserror::Error;

include!(concat!(env!("OUT_DIR"), "/runner.rs"));

/// Mark a user as greeted, unless there is a mark already. Return whether this call made the mark.
pub async fn mark_welcome(store: &DynSessionStore, envelope: &IngressEnvelope) -> Result<bool> {
    try_mark_welcome_first_contact(store, envelope).await
}

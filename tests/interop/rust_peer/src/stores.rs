//! The nine operations of the trait, on stores that are opened by name.

use std::collections::HashMap;
use std::time::Duration;

use greentic_session::{
    ReplyScope, SessionBackendConfig, SessionData, SessionKey, SessionStore, create_session_store,
};
use greentic_types::{TenantCtx, UserId};
use serde::Deserialize;

use crate::reply::{Failure, Reply, json, read};

/// Where a store keeps its sessions.
#[derive(Deserialize)]
#[serde(tag = "backend", rename_all = "snake_case")]
pub enum Backend {
    Memory,
    Redis { url: String, namespace: String },
}

/// Open a store of the crate.
pub fn open(backend: Backend) -> Result<Box<dyn SessionStore>, Failure> {
    let config = match backend {
        Backend::Memory => SessionBackendConfig::InMemory,
        Backend::Redis { url, namespace } => {
            SessionBackendConfig::RedisUrlWithNamespace { url, namespace }
        }
    };
    Ok(create_session_store(config)?)
}

/// Open stores by name.
#[derive(Default)]
pub struct Stores {
    by_name: HashMap<String, Box<dyn SessionStore>>,
}

impl Stores {
    pub fn open(&mut self, name: &str, args: &str) -> Reply {
        self.by_name.insert(name.to_owned(), open(read(args)?)?);
        Ok(json(&()))
    }

    pub fn close(&mut self, name: &str) -> Reply {
        self.by_name.remove(name);
        Ok(json(&()))
    }

    pub fn run(&self, name: &str, op: &str, args: &str) -> Reply {
        match self.by_name.get(name) {
            Some(store) => run(store.as_ref(), op, args),
            None => Err(Failure::unreadable("no such store")),
        }
    }
}

#[derive(Deserialize)]
struct Creation {
    ctx: TenantCtx,
    data: SessionData,
}

#[derive(Deserialize)]
struct Session {
    key: SessionKey,
}

#[derive(Deserialize)]
struct Update {
    key: SessionKey,
    data: SessionData,
}

#[derive(Deserialize)]
struct Registration {
    ctx: TenantCtx,
    user_id: UserId,
    scope: ReplyScope,
    session_key: SessionKey,
    data: SessionData,
    ttl: Option<Duration>,
}

#[derive(Deserialize)]
struct Wait {
    ctx: TenantCtx,
    user_id: UserId,
    scope: ReplyScope,
}

#[derive(Deserialize)]
struct User {
    ctx: TenantCtx,
    user_id: UserId,
}

fn run(store: &dyn SessionStore, op: &str, args: &str) -> Reply {
    Ok(match op {
        "create_session" => {
            let Creation { ctx, data } = read(args)?;
            json(&store.create_session(&ctx, data)?)
        }
        "get_session" => json(&store.get_session(&read::<Session>(args)?.key)?),
        "update_session" => {
            let Update { key, data } = read(args)?;
            json(&store.update_session(&key, data)?)
        }
        "remove_session" => json(&store.remove_session(&read::<Session>(args)?.key)?),
        "register_wait" => register(store, read(args)?)?,
        "find_wait_by_scope" => {
            let Wait {
                ctx,
                user_id,
                scope,
            } = read(args)?;
            json(&store.find_wait_by_scope(&ctx, &user_id, &scope)?)
        }
        "list_waits_for_user" => {
            let User { ctx, user_id } = read(args)?;
            json(&store.list_waits_for_user(&ctx, &user_id)?)
        }
        "clear_wait" => {
            let Wait {
                ctx,
                user_id,
                scope,
            } = read(args)?;
            json(&store.clear_wait(&ctx, &user_id, &scope)?)
        }
        "find_by_user" => {
            let User { ctx, user_id } = read(args)?;
            #[expect(deprecated, reason = "it is one of the nine")]
            let found = store.find_by_user(&ctx, &user_id)?;
            json(&found)
        }
        _ => return Err(Failure::unreadable("no such operation")),
    })
}

fn register(store: &dyn SessionStore, wait: Registration) -> Reply {
    let Registration {
        ctx,
        user_id,
        scope,
        session_key,
        data,
        ttl,
    } = wait;
    Ok(json(&store.register_wait(
        &ctx,
        &user_id,
        &scope,
        &session_key,
        data,
        ttl,
    )?))
}

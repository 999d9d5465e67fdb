//! The calls that the runner's own code makes to a store, in order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use greentic_session::inmemory::InMemorySessionStore;
use greentic_session::{ReplyScope, SessionData, SessionKey, SessionResult, SessionStore};
use greentic_types::{TenantCtx, UserId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Failure;
use crate::parking::Wait;
use crate::runner::{FlowResumeStore, IngressEnvelope};

#[derive(Deserialize)]
pub struct Parked {
    envelope: IngressEnvelope,
    wait: Wait,
}

/// Park a flow, find it and clear it. Return the calls of each step, and the runner's envelope.
pub async fn recorded(args: Parked) -> Result<Value, Failure> {
    let store = Arc::new(Recorder::default());
    let runner = FlowResumeStore::new(store.clone());
    let envelope = args.envelope.canonicalize();
    runner.save(&envelope, &args.wait.into()).await?;
    let save = store.take();
    let found = runner.fetch(&envelope).await?;
    let fetch = store.take();
    runner.clear(&envelope).await?;
    let clear = store.take();
    Ok(json!({
        "canonical": envelope,
        "found": found,
        "save": save,
        "fetch": fetch,
        "clear": clear,
    }))
}

/// A store in memory that records each call.
#[derive(Default)]
struct Recorder {
    calls: Mutex<Vec<Value>>,
    inner: InMemorySessionStore,
}

impl Recorder {
    fn note(&self, op: &str, args: Value) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(json!({ "op": op, "args": args }));
    }

    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SessionStore for Recorder {
    fn create_session(&self, ctx: &TenantCtx, data: SessionData) -> SessionResult<SessionKey> {
        self.note("create_session", json!({ "ctx": ctx, "data": data }));
        self.inner.create_session(ctx, data)
    }

    fn get_session(&self, key: &SessionKey) -> SessionResult<Option<SessionData>> {
        self.note("get_session", json!({ "key": key }));
        self.inner.get_session(key)
    }

    fn update_session(&self, key: &SessionKey, data: SessionData) -> SessionResult<()> {
        self.note("update_session", json!({ "key": key, "data": data }));
        self.inner.update_session(key, data)
    }

    fn remove_session(&self, key: &SessionKey) -> SessionResult<()> {
        self.note("remove_session", json!({ "key": key }));
        self.inner.remove_session(key)
    }

    fn register_wait(
        &self,
        ctx: &TenantCtx,
        user_id: &UserId,
        scope: &ReplyScope,
        session_key: &SessionKey,
        data: SessionData,
        ttl: Option<Duration>,
    ) -> SessionResult<()> {
        self.note(
            "register_wait",
            json!({
                "ctx": ctx,
                "user_id": user_id,
                "scope": scope,
                "session_key": session_key,
                "data": data,
                "ttl": ttl,
            }),
        );
        self.inner
            .register_wait(ctx, user_id, scope, session_key, data, ttl)
    }

    fn find_wait_by_scope(
        &self,
        ctx: &TenantCtx,
        user_id: &UserId,
        scope: &ReplyScope,
    ) -> SessionResult<Option<SessionKey>> {
        self.note(
            "find_wait_by_scope",
            json!({ "ctx": ctx, "user_id": user_id, "scope": scope }),
        );
        self.inner.find_wait_by_scope(ctx, user_id, scope)
    }

    fn list_waits_for_user(
        &self,
        ctx: &TenantCtx,
        user_id: &UserId,
    ) -> SessionResult<Vec<SessionKey>> {
        self.note(
            "list_waits_for_user",
            json!({ "ctx": ctx, "user_id": user_id }),
        );
        self.inner.list_waits_for_user(ctx, user_id)
    }

    fn clear_wait(
        &self,
        ctx: &TenantCtx,
        user_id: &UserId,
        scope: &ReplyScope,
    ) -> SessionResult<()> {
        self.note(
            "clear_wait",
            json!({ "ctx": ctx, "user_id": user_id, "scope": scope }),
        );
        self.inner.clear_wait(ctx, user_id, scope)
    }

    #[expect(deprecated, reason = "it is one of the nine")]
    fn find_by_user(
        &self,
        ctx: &TenantCtx,
        user: &UserId,
    ) -> SessionResult<Option<(SessionKey, SessionData)>> {
        self.note("find_by_user", json!({ "ctx": ctx, "user_id": user }));
        self.inner.find_by_user(ctx, user)
    }
}

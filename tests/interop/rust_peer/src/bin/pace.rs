//! Measures how long callers of the crate take, each in its own thread, on one shared store.
//!
//! The first line on stdin names the store to open and the callers. Each further line is a number
//! of steps that every caller takes. The reply is the seconds until all of them have finished.

use std::io::{BufRead, Write, stdin, stdout};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use greentic_session::{ReplyScope, SessionData, SessionKey, SessionResult, SessionStore};
use greentic_types::{TenantCtx, UserId};
use rust_peer::{Backend, open};
use serde::Deserialize;

#[derive(Deserialize)]
struct Opening {
    store: Backend,
    ttl: u64, // seconds
    callers: Vec<Caller>,
}

#[derive(Deserialize)]
struct Caller {
    ctx: TenantCtx,
    user: UserId,
    scope: ReplyScope,
    key: SessionKey,
    data: SessionData,
}

fn main() -> std::io::Result<()> {
    let mut lines = stdin().lock().lines();
    let first = lines.next().expect("a line that tells what to open")?;
    let Opening {
        store,
        ttl,
        callers,
    } = serde_json::from_str(&first)?;
    let store = open(store).expect("a store that can be opened");
    for line in lines {
        let steps = line?.parse().expect("a number of steps");
        let took = time(store.as_ref(), &callers, Duration::from_secs(ttl), steps);
        println!("{}", took.as_secs_f64());
        stdout().flush()?;
    }
    Ok(())
}

/// Return the time from when all threads are ready until all have taken their steps.
fn time(store: &dyn SessionStore, callers: &[Caller], ttl: Duration, steps: u32) -> Duration {
    let start = Barrier::new(callers.len() + 1);
    let mut begun = Instant::now();
    thread::scope(|threads| {
        for caller in callers {
            threads.spawn(|| {
                start.wait();
                repeat(store, caller, ttl, steps);
            });
        }
        begun = Instant::now();
        start.wait();
    });
    begun.elapsed()
}

fn repeat(store: &dyn SessionStore, caller: &Caller, ttl: Duration, steps: u32) {
    for _ in 0..steps {
        let found = cycle(store, caller, ttl).expect("a store that does what it is asked");
        assert!(found.is_some(), "a step came to nothing");
    }
}

fn cycle(
    store: &dyn SessionStore,
    caller: &Caller,
    ttl: Duration,
) -> SessionResult<Option<SessionData>> {
    let Caller {
        ctx,
        user,
        scope,
        key,
        data,
    } = caller;
    store.register_wait(ctx, user, scope, key, data.clone(), Some(ttl))?;
    store.find_wait_by_scope(ctx, user, scope)?;
    let found = store.get_session(key)?;
    store.update_session(key, data.clone())?;
    store.clear_wait(ctx, user, scope)?;
    Ok(found)
}

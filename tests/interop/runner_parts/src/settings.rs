//! What the runner reads from its environment.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::runner::{
    ENV_GREENTIC_ENV, ENV_REDIS_URL, ENV_SESSION_BACKEND, ENV_SESSION_NAMESPACE,
    ENV_SESSION_REDIS_URL, ENV_SESSION_WAIT_TTL_SECS, SessionBackend, StorageConfig,
    StorageConfigError,
};

/// Resolve the storage of a host that reads only the URL, and of one that also reads the backend.
pub fn resolve(variables: &HashMap<String, String>) -> Value {
    let of = |name: &str| variables.get(name).map(String::as_str);
    let unasked = StorageConfig::from_redis_url_vars(
        of(ENV_SESSION_REDIS_URL),
        None,
        of(ENV_SESSION_NAMESPACE),
        of(ENV_GREENTIC_ENV),
        of(ENV_SESSION_WAIT_TTL_SECS),
    );
    let asked = StorageConfig::from_vars(
        of(ENV_SESSION_BACKEND),
        None,
        of(ENV_REDIS_URL),
        of(ENV_SESSION_NAMESPACE),
        of(ENV_GREENTIC_ENV),
        of(ENV_SESSION_WAIT_TTL_SECS),
    );
    json!({ "unasked": sessions(unasked), "asked": sessions(asked) })
}

fn sessions(config: Result<StorageConfig, StorageConfigError>) -> Value {
    match config.map(|config| config.session) {
        Ok(SessionBackend::InMemory) => json!("memory"),
        Ok(SessionBackend::Redis {
            url,
            namespace,
            wait_ttl,
        }) => json!({
            "url": url,
            "namespace": namespace,
            "wait_ttl_secs": wait_ttl.map(|ttl| ttl.as_secs()),
        }),
        Err(_) => json!("refused"),
    }
}

//! Extracts the items that this program runs from the source of the crate `greentic-runner-host`.
//!
//! The whole crate depends on over 500 others, among them a compiler for WebAssembly, and takes an
//! hour to build. None of them decides where a flow is parked. `RUNNER_HOST_SOURCE` is the folder
//! to which cargo unpacked the crate.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Each file of the crate, and the beginnings of the items that are extracted from it.
const ITEMS: &[(&str, &[&str])] = &[
    (
        "engine/error.rs",
        &["pub enum RunnerError", "pub type GResult"],
    ),
    ("telemetry.rs", &["pub(crate) mod attr_keys"]),
    ("run_outcome/turn.rs", &["pub(crate) struct RunMarker"]),
    (
        "runner/engine.rs",
        &[
            "pub struct FlowSnapshot",
            "pub struct FlowWait",
            "struct PendingCardAnswers",
            "pub struct ExecutionState",
            "struct NodeOutput",
        ],
    ),
    (
        "engine/runtime.rs",
        &[
            "const DEFAULT_ENV",
            "pub struct FlowResumeStore",
            "impl FlowResumeStore",
            "struct FlowResumeRecord",
            "fn build_store_ctx",
            "fn record_to_session_data",
            "fn derive_user_id",
            "fn map_store_error",
            "fn decode_failure",
            "async fn offload",
            "fn generate_correlation_id",
            "pub struct IngressEnvelope",
            "fn endpoint_id_is_valid",
            "impl IngressEnvelope",
        ],
    ),
    (
        "storage/config.rs",
        &[
            "pub const ENV_SESSION_BACKEND",
            "pub const ENV_REDIS_URL",
            "pub const ENV_SESSION_REDIS_URL",
            "pub const ENV_SESSION_NAMESPACE",
            "pub const ENV_GREENTIC_ENV",
            "pub const ENV_SESSION_WAIT_TTL_SECS",
            "pub const DEFAULT_WAIT_TTL",
            "pub enum StorageConfigError",
            "impl fmt::Display for StorageConfigError",
            "impl std::error::Error for StorageConfigError",
            "pub enum SessionBackend",
            "pub enum StateBackend",
            "impl SessionBackend",
            "impl StateBackend",
            "pub struct StorageConfig",
            "impl StorageConfig",
            "fn named",
            "pub const ENV_STATE_BACKEND",
            "pub const ENV_STATE_REDIS_URL",
        ],
    ),
    (
        "storage/session.rs",
        &[
            "pub type DynSessionStore",
            "pub fn new_session_store",
            "pub fn store_from_config",
            "fn redis_store",
            "fn probe",
            "struct DefaultWaitTtl",
            "impl DefaultWaitTtl",
            "impl SessionStore for DefaultWaitTtl",
        ],
    ),
    (
        "host.rs",
        &[
            "const WELCOME_MARKER_TTL",
            "async fn try_mark_welcome_first_contact",
            "fn marker_session_key",
            "fn welcome_marker_scope",
            "fn marker_session_data",
        ],
    ),
];

fn main() {
    println!("cargo::rerun-if-env-changed=RUNNER_HOST_SOURCE");
    let source = PathBuf::from(env::var("RUNNER_HOST_SOURCE").expect("RUNNER_HOST_SOURCE is set"));
    let parts: Vec<String> = ITEMS
        .iter()
        .flat_map(|(file, starts)| items(&source.join("src").join(file), starts))
        .collect();
    let folder = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    fs::write(folder.join("runner.rs"), parts.join("\n\n")).expect("the folder can be written to");
}

fn items(file: &Path, starts: &[&str]) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
    let lines: Vec<&str> = text.lines().collect();
    let found = |start| item(&lines, start).unwrap_or_else(|| panic!("{file:?} has no {start}"));
    starts.iter().map(|start| found(start)).collect()
}

/// Return an item with its attributes. rustfmt writes its last line without indentation.
fn item(lines: &[&str], start: &str) -> Option<String> {
    let begins = |line: &&str| {
        let rest = line.strip_prefix(start);
        rest.is_some_and(|rest| {
            !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_')
        })
    };
    let first = lines.iter().position(|line| begins(&line))?;
    let attributes = lines[..first].iter().rev();
    let attributes =
        attributes.take_while(|line| line.starts_with("#[") || line.starts_with("///"));
    let from = first - attributes.count();
    let ends = |line: &&str| line.ends_with(['}', ';']) && !line.starts_with(' ');
    let last = first + lines[first..].iter().position(|line| ends(&line))?;
    Some(lines[from..=last].join("\n"))
}

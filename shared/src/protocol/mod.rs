//! What is on the wire, version 1. Pure types and codecs; `docs/wire.md` explains them.

mod cancel;
pub mod clock;
mod dead_letter;
mod effect;
mod encoding;
mod event;
mod fleet;
pub mod headers;
mod lane;
mod mode;
mod outcome;
mod record;
mod result;
mod retry;
pub mod signature;
mod task;
mod token;
mod tool_info;
mod workspace;

pub use cancel::CancelMarker;
pub use dead_letter::DeadLetter;
pub use effect::Effect;
pub use encoding::{DecodeError, Encoding, MAX_DEPTH};
pub use event::{Event, EventKind};
pub use fleet::{Presence, Route, Serves, SessionRecord, SessionState};
pub use headers::TaskHeaders;
pub use lane::SessionLane;
pub use mode::{LaneHandlerConfig, TaskHandlerMode};
pub use outcome::{ErrorKind, Outcome};
pub use record::{AttemptNote, Claim, TaskRecord};
pub use result::{ExternalTaskResult, TaskResult};
pub use retry::{RetryPolicy, RetryStrategy};
pub use task::{ExternalTask, TaskBody};
pub use token::{InvalidToken, Token, is_reserved_pool, validate_token};
pub use tool_info::{Introduction, ToolHints, ToolInfo, tool_digest};
pub use workspace::{
    BadManifest, Digest, Entry, InvalidDigest, InvalidPlace, InvalidReference, Kind, MAX_ENTRIES,
    Manifest, Place, Places, RETURNED, Returned, TreeHead, WorkspaceRef,
};

/// The default time a task may take, from submit to result, when nothing else is said.
pub const DEFAULT_TIMEOUT_MS: u64 = 60_000;

/// The pool of a worker or session that names none.
pub const DEFAULT_POOL: &str = "default";

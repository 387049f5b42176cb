//! How a process of ours lives: it finds a server, connects, logs, and stops in order.
//!
//! * [`options`]: what a user may say about the connection; [`context_file`] reads a `nats`
//!   context, [`credential`] says who we are.
//! * [`denials`]: what the broker did not permit, told to whoever waits for it.
//! * [`mod@connect`]: one connection and its events; [`resolve`] decides to which server,
//!   [`version`] which servers are good enough, [`mod@env`] how others join it.
//! * [`embedded`]: a nats-server of our own, for those who have none. It stands on [`locate`]
//!   (the binary), [`nats_server`] (one process), [`child`] (no orphans) and [`paths`]; a
//!   guardian starts it again when its owner ends before others that joined.
//! * [`offset`]: how far this machine's clock is from the broker's.
//! * [`signing`]: the files of keys and trust lists.
//! * [`telemetry`] and [`shutdown`]: logs to stderr; SIGTERM drains, a second one stops.

pub mod child;
mod client;
pub mod connect;
mod connect_error;
pub mod context_file;
pub mod credential;
pub mod denials;
pub mod embedded;
pub mod env;
mod guardian;
pub mod locate;
pub mod nats_server;
pub mod offset;
pub mod options;
pub mod paths;
pub mod resolve;
pub mod shutdown;
pub mod signing;
pub mod telemetry;
pub mod version;

pub use connect::{ConnectError, Connection, connect};
pub use credential::Credential;
pub use denials::{Denials, Denied};
pub use env::env_lines;
pub use options::ConnectOptions;
pub use resolve::{Origin, Role, Where};
pub use shutdown::Shutdown;
pub use signing::SigningOptions;
pub use telemetry::LogOptions;

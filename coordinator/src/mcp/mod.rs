//! The MCP door: an agent that speaks the Model Context Protocol calls the fleet's tools, and knows
//! nothing of NATS.
//!
//! * [`door`]: what all connections share. [`server`]: what a client asks and hears; [`stdio`] and
//!   [`http`] are the two ways in.
//! * [`builtin`], [`own`], [`catalog`]: which tools are offered: those of every worker, those of the
//!   door itself, those that the present workers describe.
//! * [`call`]: one call from its arguments to its end; [`calls`] which of them a client took back;
//!   [`live`] what is told meanwhile; [`many`] a batch of them.
//! * [`stored`]: calls of earlier connections, by their ids. [`recall`]: the tools and resources that
//!   get at them; [`handles`]: the same as MCP tasks.
//! * [`answer`]: what a client sees of a result; [`excerpt`] and [`uri`] what was too long for it.

mod answer;
mod builtin;
mod call;
mod calls;
mod catalog;
mod door;
mod excerpt;
mod handles;
mod http;
mod live;
mod many;
mod own;
mod recall;
mod server;
mod stdio;
mod stored;
mod uri;

pub(crate) use door::{Door, Options};
pub(crate) use http::Http;

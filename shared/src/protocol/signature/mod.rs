//! Signatures of tasks and results: what is signed, by which key, and whose signature counts. Pure;
//! `docs/wire.md` has the form byte for byte, `docs/security.md` what it protects from.
//!
//! * `canonical`: the bytes that are signed, made of what a message says.
//! * `key`: a pair of keys from an nkey seed, and the check of a signature.
//! * `trust`: the list of keys that count, and what each may ask for or answer.
//! * `check`: all of it together, for a task and for a result.

mod canonical;
mod check;
mod key;
mod trust;

pub use canonical::{BodyDigest, SignedResult, SignedTask};
pub use check::{check_result, check_task};
pub use key::{KeyError, SigningKey, is_signed_by};
pub use trust::{Refusal, Role, TrustError, TrustList};

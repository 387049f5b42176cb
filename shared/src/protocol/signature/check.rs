//! Whether a task's or a result's signature counts: whose it is, whether it fits, and whether that
//! key may. In this order, so that an error says what has to be changed.

use super::{Refusal, Role, SignedResult, SignedTask, TrustList, is_signed_by};
use crate::protocol::TaskResult;

/// Checks a task's signature. `key` and `signature` are its headers.
///
/// # Errors
/// [`Refusal`]: it is not to be run, and why.
pub fn check_task(
    list: &TrustList,
    task: &SignedTask<'_>,
    key: Option<&str>,
    signature: Option<&str>,
) -> Result<(), Refusal> {
    let (Some(key), Some(signature)) = (key, signature) else {
        return Err(Refusal::Unsigned);
    };
    let SignedTask {
        session_id,
        lane,
        command_type,
        ..
    } = *task;
    if !list.names(Role::Coordinator, key) {
        return Err(Refusal::UnknownKey(key.to_owned(), Role::Coordinator));
    }
    if !is_signed_by(key, &task.canonical(), signature) {
        return Err(Refusal::Altered(key.to_owned()));
    }
    list.permits(Role::Coordinator, key, session_id, lane, command_type)
}

/// Checks a result's signature. `own` is the key of the process that checks: it may answer for
/// workers, as every trusted coordinator may, without success.
///
/// # Errors
/// [`Refusal`]: it is not to be believed, and why.
pub fn check_result(
    list: &TrustList,
    own: Option<&str>,
    signed: &SignedResult<'_>,
    result: &TaskResult,
    key: Option<&str>,
    signature: Option<&str>,
) -> Result<(), Refusal> {
    let (Some(key), Some(signature)) = (key, signature) else {
        return Err(Refusal::Unsigned);
    };
    let coordinator = own == Some(key) || list.names(Role::Coordinator, key);
    if !coordinator && !list.names(Role::Worker, key) {
        return Err(Refusal::UnknownKey(key.to_owned(), Role::Worker));
    }
    if !is_signed_by(key, &signed.canonical(), signature) {
        return Err(Refusal::Altered(key.to_owned()));
    }
    let TaskResult {
        session_id,
        lane,
        command_type,
        success,
        ..
    } = result;
    match list.permits(Role::Worker, key, session_id, *lane, command_type) {
        Err(_) if coordinator && !success => Ok(()),
        Err(Refusal::UnknownKey(..)) => Err(Refusal::Success(key.to_owned())),
        answer => answer,
    }
}

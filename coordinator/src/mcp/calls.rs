//! Which calls of a connection its client took back. A connection that is lost takes nothing back:
//! only the client's own word does (`notifications/cancelled`), and, where the protocol says so, the
//! end of the one response stream of an HTTP request.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use rmcp::model::{ProtocolVersion, RequestId};
use rmcp::service::{RequestContext, RoleServer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Cancels that came before their request was looked at, or after it ended, are remembered for a
/// while; those beyond it are forgotten, oldest first.
const REMEMBERED: usize = 64;

/// The calls of a connection.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    running: HashMap<RequestId, CancellationToken>,
    early: VecDeque<RequestId>,
}

/// A call that runs. Forgotten on drop.
#[derive(Debug)]
pub(super) struct Running<'a> {
    calls: &'a Calls,
    id: RequestId,
    /// Cancelled when the client takes the call back.
    pub(super) cancel: CancellationToken,
    watch: Option<AbortOnDropHandle<()>>,
}

impl Calls {
    /// Remembers a call that begins.
    pub(super) fn begin(
        &self,
        context: &RequestContext<RoleServer>,
        leaving: &CancellationToken,
    ) -> Running<'_> {
        let mut running = self.note(context.id.clone());
        if ends_with_its_stream(context) {
            let (stream, leaving) = (context.ct.clone(), leaving.clone());
            let cancel = running.cancel.clone();
            let watch = async move {
                stream.cancelled().await;
                // All streams end when we do, and that is nobody's wish.
                if !leaving.is_cancelled() {
                    cancel.cancel();
                }
            };
            running.watch = Some(AbortOnDropHandle::new(tokio::spawn(watch)));
        }
        running
    }

    fn note(&self, id: RequestId) -> Running<'_> {
        let cancel = CancellationToken::new();
        let mut state = self.0.lock();
        if let Some(at) = state.early.iter().position(|early| *early == id) {
            state.early.remove(at);
            cancel.cancel();
        }
        state.running.insert(id.clone(), cancel.clone());
        Running {
            calls: self,
            id,
            cancel,
            watch: None,
        }
    }

    /// The client takes a call back.
    pub(super) fn take_back(&self, id: RequestId) {
        let mut state = self.0.lock();
        if let Some(cancel) = state.running.get(&id) {
            return cancel.cancel();
        }
        if state.early.len() == REMEMBERED {
            state.early.pop_front();
        }
        state.early.push_back(id);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.calls.0.lock().running.remove(&self.id);
    }
}

/// Whether the end of its response stream is the client's word that it does not want the answer:
/// so in HTTP since 2026-07-28, whose clients have no other; before, a stream could be resumed.
fn ends_with_its_stream(context: &RequestContext<RoleServer>) -> bool {
    let over_http = context.extensions.get::<http::request::Parts>().is_some();
    let version = context.protocol_version();
    over_http && version.is_some_and(|v| v.as_str() >= ProtocolVersion::V_2026_07_28.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_taken_back_hears_of_it_however_early_the_word_came() {
        let calls = Calls::default();
        let id = RequestId::Number(1);
        let running = calls.note(id.clone());
        calls.take_back(id.clone());
        assert!(running.cancel.is_cancelled());
        drop(running);

        calls.take_back(id.clone());
        let late = calls.note(id.clone());
        assert!(late.cancel.is_cancelled(), "the word came first");
        drop(late);
        let other = calls.note(id);
        assert!(!other.cancel.is_cancelled(), "and is used up");
    }

    #[test]
    fn words_for_calls_that_never_come_fill_no_memory() {
        let calls = Calls::default();
        for number in 0..1_000 {
            calls.take_back(RequestId::Number(number));
        }
        assert_eq!(calls.0.lock().early.len(), REMEMBERED);
    }
}

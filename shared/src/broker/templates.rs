//! The headers that many tasks have in common, made once: to put a header into a map costs more than
//! to copy one that is there.

use std::sync::Arc;

use async_nats::{HeaderMap, HeaderName};
use parking_lot::Mutex;

use crate::protocol::{Effect, Encoding, RetryPolicy, TaskHeaders};

/// How many are kept. A session has one for each way in which its tasks are submitted.
const KEPT: usize = 16;

/// What these headers say of a task.
type Common = (Effect, RetryPolicy, Encoding);

/// Headers by what they say. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Templates(Arc<Mutex<Vec<(Common, HeaderMap)>>>);

impl Templates {
    /// The headers of which [`headers`] tells.
    pub(super) fn of(&self, common: Common) -> HeaderMap {
        let mut kept = self.0.lock();
        if let Some((_, map)) = kept.iter().find(|(known, _)| *known == common) {
            return map.clone();
        }
        let map: HeaderMap = headers(common)
            .into_pairs()
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.as_str().into()))
            .collect();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.push((common, map.clone()));
        map
    }
}

/// What the headers of a task with these options say, without what is its own.
pub(super) fn headers((effect, retry, encoding): Common) -> TaskHeaders {
    TaskHeaders {
        retry: Some(retry),
        effect: Some(effect),
        content_type: Some(encoding.content_type().to_owned()),
        ..TaskHeaders::default()
    }
}

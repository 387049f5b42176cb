//! The headers that many tasks, or results, have in common, made once: to put a header into a map costs
//! more than to copy one that is there.

use std::sync::{Arc, LazyLock};

use async_nats::{HeaderMap, HeaderName};
use parking_lot::Mutex;

use super::publish::EXPECTED_LAST;
use crate::protocol::{Effect, Encoding, RetryPolicy, TaskHeaders, headers};

/// How many are kept. A session has one for each way in which its tasks are submitted.
const KEPT: usize = 16;

/// What these headers say of a task.
type Common = (Effect, RetryPolicy, Encoding);

/// Headers, and what they say.
type Kept = Vec<(Common, Arc<HeaderMap>)>;

/// Headers by what they say. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Templates(Arc<Mutex<Kept>>);

impl Templates {
    /// The headers of which [`of_tasks`] tells.
    pub(super) fn of(&self, common: Common) -> Arc<HeaderMap> {
        let mut kept = self.0.lock();
        if let Some((_, map)) = kept.iter().find(|(known, _)| *known == common) {
            return Arc::clone(map);
        }
        let map: HeaderMap = of_tasks(common)
            .into_pairs()
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.as_str().into()))
            .collect();
        let map = Arc::new(map);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.push((common, Arc::clone(&map)));
        map
    }
}

/// The headers that results in this encoding have: how they are written, and that the first one wins.
pub(super) fn of_results(encoding: Encoding) -> Arc<HeaderMap> {
    static MESSAGE_PACK: LazyLock<Arc<HeaderMap>> = LazyLock::new(|| first(Encoding::MessagePack));
    static JSON: LazyLock<Arc<HeaderMap>> = LazyLock::new(|| first(Encoding::Json));
    Arc::clone(match encoding {
        Encoding::MessagePack => &MESSAGE_PACK,
        Encoding::Json => &JSON,
    })
}

fn first(encoding: Encoding) -> Arc<HeaderMap> {
    let mut map = HeaderMap::new();
    let content_type = HeaderName::from_static(headers::CONTENT_TYPE);
    map.insert(content_type, encoding.content_type());
    map.insert(HeaderName::from_static(EXPECTED_LAST), "0");
    Arc::new(map)
}

/// What the headers of a task with these options say, without what is its own.
pub(super) fn of_tasks((effect, retry, encoding): Common) -> TaskHeaders {
    TaskHeaders {
        retry: Some(retry),
        effect: Some(effect),
        content_type: Some(encoding.content_type().to_owned()),
        ..TaskHeaders::default()
    }
}

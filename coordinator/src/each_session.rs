//! Following single sessions, for a credential that may not follow all at once.

use std::collections::HashMap;
use std::sync::Weak;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::coordinator::Hub;

/// How often it is looked which sessions are open. One that has just been opened may wait so long
/// until it hears what other processes wish of it.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Runs `follow` for each session that is open in this process, for as long as it is.
pub(crate) async fn follow_each<F>(hub: &Weak<Hub>, follow: impl Fn(String) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut following: HashMap<String, AbortOnDropHandle<()>> = HashMap::new();
    loop {
        {
            let Some(hub) = hub.upgrade() else { return };
            let open = hub.sessions();
            following.retain(|id, _| open.iter().any(|core| core.id() == id));
            for core in open {
                following
                    .entry(core.id().to_owned())
                    .or_insert_with_key(|id| {
                        AbortOnDropHandle::new(tokio::spawn(follow(id.clone())))
                    });
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

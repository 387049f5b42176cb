//! What is promised on the wire, one file a topic, one function a claim.

mod attempts;
mod bodies;
mod broker;
mod cancel;
mod deadline;
mod decoding;
mod delivery;
mod drain;
mod events;
mod fleet;
mod lanes;
mod lease;
mod malformed;
mod once;
mod presence;
mod results;

use crate::suite::Case;

/// Lists the functions of a topic as cases: `level scene name`.
macro_rules! cases {
    ($topic:literal: $($level:ident $scene:ident $name:ident)*) => {
        pub(super) fn cases() -> Vec<crate::suite::Case> {
            vec![$(crate::suite::Case {
                topic: $topic,
                name: stringify!($name),
                level: crate::suite::Level::$level,
                scene: crate::rig::Scene::$scene,
                run: |rig| Box::pin($name(rig)),
            }),*]
        }
    };
}
use cases;

/// All cases, in the order of a task's way.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        decoding::cases(),
        malformed::cases(),
        results::cases(),
        bodies::cases(),
        delivery::cases(),
        once::cases(),
        attempts::cases(),
        deadline::cases(),
        cancel::cases(),
        lease::cases(),
        lanes::cases(),
        drain::cases(),
        presence::cases(),
        events::cases(),
        broker::cases(),
        fleet::cases(),
    ]
    .concat()
}

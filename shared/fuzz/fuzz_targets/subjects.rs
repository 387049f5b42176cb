//! Subjects and names: none panics, and an address is taken apart as it was put together.

#![no_main]

use a3s_shared::broker::{Names, TaskAddress};
use a3s_shared::protocol::{Route, SessionLane, is_reserved_pool, validate_token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str, &str)| {
    let (prefix, session, id, subject) = input;
    let _ = subject.parse::<SessionLane>();
    let _ = SessionLane::from_tool_name(subject);
    let Ok(names) = Names::new(prefix) else {
        return;
    };
    let _ = names.session_and_id(subject);
    let _ = names.parse_task(subject);
    if validate_token("session", session).is_err() || validate_token("id", id).is_err() {
        return;
    }
    assert_eq!(
        names.session_and_id(&names.result(session, id)),
        Some((session, id))
    );
    assert_eq!(
        names.session_and_id(&names.cancel(session, id)),
        Some((session, id))
    );
    assert_eq!(names.parse_task(&names.result(session, id)), None);
    for lane in SessionLane::ALL {
        let mut routes = vec![Route::Own];
        if !is_reserved_pool(id) {
            routes.push(Route::Pool(id.to_owned()));
        }
        for route in routes {
            let subject = names.task(session, lane, &route);
            let expected = TaskAddress {
                session: session.to_owned(),
                lane,
                route,
            };
            assert_eq!(names.parse_task(&subject), Some(expected), "{subject}");
        }
    }
});

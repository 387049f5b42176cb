//! The names of results as resources: `a3s://result/<session>/<task>`, with a query for a part of
//! one. Pure.

use a3s_shared::protocol::validate_token;
use url::Url;

use super::excerpt::Part;

/// What a client may fill in.
pub(super) const TEMPLATE: &str = "a3s://result/{session}/{task}{?field,offset,limit,pattern}";

/// Which text of a result is meant when nothing is said.
pub(super) const DEFAULT_FIELD: &str = "output";

/// A part of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Whose task.
    pub(super) session: String,
    /// Which task.
    pub(super) task: String,
    /// Which text of it.
    pub(super) field: String,
    /// Which part of the text.
    pub(super) part: Part,
}

/// The name of a result.
pub(super) fn of(session: &str, task: &str) -> String {
    format!("a3s://result/{session}/{task}")
}

/// Reads a name.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(uri: &str) -> Result<Wanted, String> {
    let wrong = || format!("{uri:?} names no result: it is {TEMPLATE}");
    let url = Url::parse(uri).map_err(|_| wrong())?;
    if (url.scheme(), url.host_str()) != ("a3s", Some("result")) {
        return Err(wrong());
    }
    let mut path = url.path_segments().ok_or_else(wrong)?;
    let (Some(session), Some(task), None) = (path.next(), path.next(), path.next()) else {
        return Err(wrong());
    };
    for (what, token) in [("session id", session), ("task id", task)] {
        validate_token(what, token).map_err(|e| e.to_string())?;
    }
    let mut wanted = Wanted {
        session: session.to_owned(),
        task: task.to_owned(),
        field: DEFAULT_FIELD.to_owned(),
        part: Part::default(),
    };
    for (name, value) in url.query_pairs() {
        let number = || {
            let number = value.parse().map(Some);
            number.map_err(|_| format!("{name} is {value:?}, which is no count of lines"))
        };
        match &*name {
            "field" => wanted.field = value.into_owned(),
            "offset" => wanted.part.offset = number()?,
            "limit" => wanted.part.limit = number()?,
            "pattern" => wanted.part.pattern = Some(value.into_owned()),
            _ => return Err(format!("unknown parameter {name:?}: {}", wrong())),
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_query_is_the_whole_output() {
        let wanted = parse(&of("s", "t1")).expect("our own name");
        assert_eq!((&*wanted.session, &*wanted.task), ("s", "t1"));
        assert_eq!((&*wanted.field, wanted.part), ("output", Part::default()));
    }

    #[test]
    fn a_query_names_a_part() {
        let uri = "a3s://result/s/t?field=stderr&offset=3&limit=4&pattern=a%20b%2B";
        let wanted = parse(uri).expect("a part");
        assert_eq!(wanted.field, "stderr");
        let part = Part {
            offset: Some(3),
            limit: Some(4),
            pattern: Some("a b+".to_owned()),
        };
        assert_eq!(wanted.part, part);
    }

    #[test]
    fn what_names_no_result_is_refused_with_how_it_is_written() {
        for bad in [
            "file:///etc/passwd",
            "a3s://result/s",
            "a3s://result/s/t/u",
            "a3s://other/s/t",
            "a3s://result/s/t?x=1",
            "nonsense",
        ] {
            let error = parse(bad).expect_err(bad);
            assert!(error.contains(TEMPLATE), "{error}");
        }
        assert!(parse("a3s://result/s.x/t").is_err());
        assert!(parse("a3s://result/s/t?offset=-1").is_err());
    }
}

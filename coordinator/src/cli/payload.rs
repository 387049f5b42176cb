//! A payload as it is typed: JSON, `@file`, or `-` for standard input.

use std::io::Read as _;

use serde_json::Value;

use super::failure::Failure;

/// Reads a payload.
///
/// # Errors
/// When the file cannot be read or the text is not JSON; both are mistakes of usage.
pub(crate) fn read(typed: &str) -> Result<Value, Failure> {
    let (text, source) = match typed.strip_prefix('@') {
        Some(path) => (read_file(path)?, format!("file {path}")),
        None if typed == "-" => (read_stdin()?, "standard input".to_owned()),
        None => (typed.to_owned(), format!("payload {typed:?}")),
    };
    serde_json::from_str(&text).map_err(|e| {
        Failure::usage(format!(
            "{source} is not JSON: {e}; write '{{\"path\":\"README.md\"}}', @file or -"
        ))
    })
}

fn read_file(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| Failure::usage(format!("cannot read {path}: {e}")))
}

fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|e| Failure::usage(format!("cannot read standard input: {e}")))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_files_are_read() {
        assert_eq!(read(r#"{"a":1}"#).expect("JSON"), json!({"a": 1}));
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "[2]").expect("written");
        let typed = format!("@{}", file.path().display());
        assert_eq!(read(&typed).expect("a file"), json!([2]));
    }

    #[test]
    fn a_mistake_names_what_was_typed() {
        let text = read("{path: 1}").expect_err("no JSON").to_string();
        assert!(
            text.contains("{path: 1}") && text.contains("@file"),
            "{text}"
        );
        let text = read("@/nonexistent").expect_err("no file").to_string();
        assert!(text.contains("/nonexistent"), "{text}");
    }
}

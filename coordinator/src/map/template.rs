//! The command with its placeholders. What is put in is quoted for the shell, so that an argument
//! is always one word and never a command.

use shlex::QuoteError;

/// A command whose placeholders are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Value),
}

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// `{}`: the argument.
    Argument,
    /// `{#}`: the job's number, from 1.
    Number,
    /// `{.}`: the argument without its extension.
    NoExtension,
    /// `{/}`: its last component.
    Base,
    /// `{//}`: what comes before the last component.
    Directory,
    /// `{/.}`: the last component without its extension.
    BaseNoExtension,
}

const PLACEHOLDERS: [(&str, Value); 6] = [
    ("{}", Value::Argument),
    ("{#}", Value::Number),
    ("{.}", Value::NoExtension),
    ("{//}", Value::Directory),
    ("{/.}", Value::BaseNoExtension),
    ("{/}", Value::Base),
];

impl Template {
    /// Reads a command. Without any placeholder the argument is appended. Braces that are no
    /// placeholder stay: `awk '{print $1}'` works.
    pub(crate) fn parse(command: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = command;
        while let Some(next) = rest.chars().next() {
            let known = PLACEHOLDERS.iter().find(|(name, _)| rest.starts_with(name));
            if let Some((name, value)) = known {
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(Part::Value(*value));
                rest = &rest[name.len()..];
            } else {
                text.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        if parts.is_empty() {
            text.push(' ');
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(Part::Value(Value::Argument));
        }
        parts.push(Part::Text(text));
        Self { parts }
    }

    /// The command for job `number` (from 1) on `argument`.
    ///
    /// # Errors
    /// An argument with a NUL byte, which no shell can take.
    pub(crate) fn render(&self, argument: &str, number: usize) -> Result<String, QuoteError> {
        let mut command = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => command.push_str(text),
                Part::Value(Value::Number) => command.push_str(&number.to_string()),
                Part::Value(value) => command.push_str(&shlex::try_quote(value.of(argument))?),
            }
        }
        Ok(command)
    }
}

impl Value {
    fn of(self, argument: &str) -> &str {
        match self {
            Self::Argument | Self::Number => argument,
            Self::NoExtension => without_extension(argument),
            Self::Base => base(argument),
            Self::Directory => directory(argument),
            Self::BaseNoExtension => without_extension(base(argument)),
        }
    }
}

fn without_extension(path: &str) -> &str {
    match path.rfind(['.', '/']) {
        Some(at) if path.as_bytes()[at] == b'.' && at + 1 < path.len() => &path[..at],
        _ => path,
    }
}

fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, base)| base)
}

fn directory(path: &str) -> &str {
    match path.rsplit_once('/') {
        None => ".",
        Some(("", _)) => "/",
        Some((directory, _)) => directory,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn render(command: &str, argument: &str) -> String {
        Template::parse(command)
            .render(argument, 7)
            .expect("a command")
    }

    #[test]
    fn placeholders_mean_what_they_mean_to_gnu_parallel() {
        let path = "dir.d/sub/file.tar.gz";
        assert_eq!(render("x {} y", path), format!("x {path} y"));
        assert_eq!(render("{.}", path), "dir.d/sub/file.tar");
        assert_eq!(render("{/}", path), "file.tar.gz");
        assert_eq!(render("{//}", path), "dir.d/sub");
        assert_eq!(render("{/.}", path), "file.tar");
        assert_eq!(render("{#}", path), "7");
        assert_eq!(render("{//}", "plain"), ".");
        assert_eq!(render("{//}", "/plain"), "/");
        assert_eq!(render("{.}", "a.d/plain"), "a.d/plain");
    }

    #[test]
    fn without_a_placeholder_the_argument_is_appended() {
        assert_eq!(render("wc -l", "a b"), "wc -l 'a b'");
        assert_eq!(render("awk '{print $1}'", "f"), "awk '{print $1}' f");
        assert_eq!(render("echo {#}", "f"), "echo 7");
    }

    #[test]
    fn an_argument_with_a_nul_byte_is_refused() {
        assert!(Template::parse("x").render("a\0b", 1).is_err());
    }

    proptest! {
        #[test]
        fn an_argument_is_always_one_word(argument in "[^\0]{0,40}") {
            let words = shlex::split(&render("run {} end", &argument)).expect("words");
            prop_assert_eq!(words, ["run", argument.as_str(), "end"]);
        }
    }

    #[test]
    fn a_hostile_argument_reaches_a_real_shell_unharmed() {
        for argument in [
            "$(touch x)",
            "a'b\"c",
            "`id`",
            "*",
            "a\nb",
            "-n",
            "~",
            "!x",
            "",
            "é 🦀",
        ] {
            let command = render("printf %s {}", argument);
            let output = std::process::Command::new("sh")
                .args(["-c", &command])
                .output()
                .expect("a shell");
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                argument,
                "{command}"
            );
        }
    }
}

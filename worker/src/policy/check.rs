//! May this tool run, and is this result too long.

use std::io;

use serde_json::Value;

use super::{Policy, Refusal, Rule};

impl Policy {
    /// Whether the tool `name` may run.
    ///
    /// # Errors
    /// The refusal, which names the tools that may.
    pub fn allow_tool(&self, name: &str) -> Result<(), Refusal> {
        match &self.tools {
            Some(tools) if !tools.contains(name) => {
                let list: Vec<&str> = tools.iter().map(String::as_str).collect();
                let why = format!("{name} is not one of {}", list.join(", "));
                Err(Refusal::new(Rule::Tools, why))
            }
            _ => Ok(()),
        }
    }

    /// Whether a tool may answer `result`: each of its fields, a text by its own length and
    /// anything else as JSON, is within the limit.
    ///
    /// # Errors
    /// The refusal, which names the field.
    pub fn allow_result(&self, result: &Value) -> Result<(), Refusal> {
        let Some(most) = self.limits.output else {
            return Ok(());
        };
        let fields = result.as_object().into_iter().flatten();
        for (name, value) in fields {
            let size = size(value);
            if size > most {
                let why = format!("the result's {name} has {size} bytes, {most} are allowed");
                return Err(Refusal::new(Rule::LimitsOutput, why));
            }
        }
        Ok(())
    }
}

fn size(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        other => {
            let mut counted = Counter(0);
            // Neither a value nor a counter can fail.
            let _ = serde_json::to_writer(&mut counted, other);
            counted.0
        }
    }
}

struct Counter(u64);

impl io::Write for Counter {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0 += piece.len() as u64;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_that_is_not_on_the_list_is_refused_by_the_rules_name() {
        let policy = Policy {
            tools: Some(["grep".to_owned(), "read".to_owned()].into()),
            ..Policy::default()
        };
        assert_eq!(policy.allow_tool("read"), Ok(()));
        let refusal = policy
            .allow_tool("bash")
            .expect_err("it is not on the list");
        let text = "refused by policy rule \"tools\": bash is not one of grep, read";
        assert_eq!(refusal.to_string(), text);
        assert_eq!(Policy::default().allow_tool("anything"), Ok(()));
    }

    #[test]
    fn a_result_is_measured_field_by_field() {
        let mut policy = Policy::default();
        let result = json!({"output": "12345678", "files": ["a", "b"]});
        assert_eq!(policy.allow_result(&result), Ok(()));
        policy.limits.output = Some(9);
        assert_eq!(policy.allow_result(&result), Ok(()));
        policy.limits.output = Some(8);
        let refusal = policy.allow_result(&result).expect_err("the list has 9");
        let text = "the result's files has 9 bytes, 8 are allowed";
        assert_eq!(refusal, Refusal::new(Rule::LimitsOutput, text));
    }
}

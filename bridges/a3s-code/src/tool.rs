//! A tool of the user's own, which workers have, as the model sees it.

use a3s_code_core::tools::{Tool, ToolContext, ToolOutput};
use serde_json::{Value, json};

/// A tool that workers were given with `--tool` or in Rust. Its calls go the way of lane Execute,
/// so each is started at most once.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetTool {
    name: String,
    description: String,
    schema: Value,
}

impl FleetTool {
    /// A tool that takes any object. `description` is for the model.
    #[must_use]
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            schema: json!({ "type": "object" }),
        }
    }

    /// Sets the JSON Schema of what it takes: an object.
    #[must_use]
    pub fn schema(mut self, schema: Value) -> Self {
        self.schema = schema;
        self
    }

    /// The name, as on the workers.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[async_trait::async_trait]
impl Tool for FleetTool {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        &self.description
    }

    fn parameters(&self) -> Value {
        self.schema.clone()
    }

    /// Fails: this process does not have it. Reached only while lane Execute is not External.
    async fn execute(&self, _args: &Value, _ctx: &ToolContext) -> anyhow::Result<ToolOutput> {
        let name = &self.name;
        Ok(ToolOutput::error(format!(
            "{name} is run by workers, not in this process: set lane Execute to External"
        )))
    }
}

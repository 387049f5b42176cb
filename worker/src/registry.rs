//! The tools a worker has, by command type.

use std::collections::BTreeMap;
use std::sync::Arc;

use a3s_shared::protocol::ToolInfo;

use crate::tool::Tool;

/// The tools a worker has.
#[derive(Default, Clone)]
pub struct Registry {
    tools: BTreeMap<String, Arc<dyn Tool>>,
}

impl Registry {
    /// No tools.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool; one of the same name is replaced.
    pub fn add(&mut self, tool: impl Tool) {
        self.tools.insert(tool.name().to_owned(), Arc::new(tool));
    }

    /// The tool that runs tasks of `command_type`.
    #[must_use]
    pub fn get(&self, command_type: &str) -> Option<Arc<dyn Tool>> {
        self.tools.get(command_type).cloned()
    }

    /// Removes every tool that `keep` does not name.
    pub fn retain(&mut self, keep: &[String]) {
        self.tools.retain(|name, _| keep.contains(name));
    }

    /// What is said of the tools, by name; those of which nothing is said are left out.
    #[must_use]
    pub fn infos(&self) -> BTreeMap<String, ToolInfo> {
        let infos = self
            .tools
            .iter()
            .map(|(name, tool)| (name.clone(), tool.info()));
        infos.filter(|(_, info)| !info.is_silent()).collect()
    }

    /// The names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.tools.keys().cloned().collect()
    }
}

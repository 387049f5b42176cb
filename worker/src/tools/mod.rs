//! The built-in tools, one file each.
//!
//! * Files: [`read`] (pictures: `image`), [`mod@write`], [`edit`], [`ls`].
//! * Trees, as ripgrep sees them: [`grep`], [`glob`], [`list_files`], on the walk of [`walk`].
//! * Processes: [`bash`], and [`program`], a tool in any language; both on [`process`].
//! * Nothing: [`noop`], for measuring a deployment.
//! * [`output`] bounds what a tool may answer.

pub mod bash;
pub mod edit;
pub mod glob;
pub mod grep;
mod image;
pub mod list_files;
pub mod ls;
pub mod noop;
pub mod output;
mod payload;
pub mod process;
pub mod program;
pub mod read;
pub mod walk;
pub mod write;

#[cfg(test)]
mod harness;

use crate::registry::Registry;

/// All built-in tools, without limits of ours on what `bash` may use.
#[must_use]
pub fn builtin() -> Registry {
    builtin_within(process::Limits::default())
}

/// As [`builtin`], with limits on the commands of `bash`.
#[must_use]
pub fn builtin_within(limits: process::Limits) -> Registry {
    let mut tools = Registry::new();
    tools.add(bash::Bash { limits });
    tools.add(edit::Edit);
    tools.add(glob::Glob);
    tools.add(grep::Grep);
    tools.add(list_files::ListFiles);
    tools.add(ls::Ls);
    tools.add(noop::Noop);
    tools.add(read::Read);
    tools.add(write::Write);
    tools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_of_the_contract_is_built_in() {
        let names = [
            "bash",
            "edit",
            "glob",
            "grep",
            "list_files",
            "ls",
            "noop",
            "read",
            "write",
        ];
        assert_eq!(builtin().names(), names);
    }
}

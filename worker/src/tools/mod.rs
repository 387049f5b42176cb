//! The built-in tools, one file each.
//!
//! * Files: [`read`], [`write`], [`edit`], [`ls`].
//! * Trees, as ripgrep sees them: [`grep`], [`glob`], [`list_files`], on the walk of [`walk`].
//! * Processes: [`bash`], and [`program`], a tool in any language; both on [`process`].
//! * [`output`] bounds what a tool may answer.

pub mod bash;
pub mod edit;
pub mod glob;
pub mod list_files;
pub mod ls;
pub mod output;
mod payload;
pub mod process;
pub mod program;
pub mod read;
pub mod walk;
pub mod write;

#[cfg(test)]
mod harness;

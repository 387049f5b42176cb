//! The code that workers need, as it is named and described on the wire. Pure.
//!
//! A **tree** is a [`Manifest`]: the paths of a directory with the digests of their contents. Its
//! digest is its name, so equal trees have one name wherever they come from. Contents are kept in
//! **packs**, and [`Place`]s say where in which pack each one is. A task names its tree, and what
//! of it is wanted back, by a [`WorkspaceRef`] in its header `A3s-Workspace`.

mod digest;
mod manifest;
mod place;
mod reference;

pub use digest::{Digest, InvalidDigest};
pub use manifest::{BadManifest, Entry, Kind, MAX_ENTRIES, Manifest};
pub use place::{InvalidPlace, Place, Places};
pub use reference::{InvalidReference, RETURNED, Returned, TreeHead, WorkspaceRef};

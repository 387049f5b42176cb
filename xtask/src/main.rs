//! The recipes of this project.
fn main() {}

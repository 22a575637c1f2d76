//! Cost of a state root after a block of changes.
fn main() {}

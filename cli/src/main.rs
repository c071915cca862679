//! Boots and controls virtual machines.
fn main() {}

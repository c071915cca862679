//! Tests, benchmarks and the nested test host.
fn main() {}

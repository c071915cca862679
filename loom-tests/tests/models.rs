//! Every model, as a test: the same program as the binary.

#[cfg(loom)]
fn main() -> std::process::ExitCode {
    loom_tests::runner::main()
}

// Without the flag there is no model, as in the library.
#[cfg(not(loom))]
fn main() {}

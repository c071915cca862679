//! Explores the models and prints the table; see the library's documentation.

#[cfg(loom)]
fn main() -> std::process::ExitCode {
    loom_tests::runner::main()
}

#[cfg(not(loom))]
fn main() {
    eprintln!(
        "loom-tests: built without RUSTFLAGS=\"--cfg loom\", so there is no model to explore"
    );
}

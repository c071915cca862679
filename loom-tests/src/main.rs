//! Explores the models and prints the table; see the library's documentation.

#[cfg(loom)]
fn main() -> std::process::ExitCode {
    loom_tests::runner::main()
}

/// `loom-tests [SCHEDULES [SEED]]`: so many schedules of each kind.
#[cfg(shuttle)]
fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    match (number(10_000), number(1)) {
        (Ok(schedules), Ok(seed)) => {
            loom_tests::scale::table(schedules, seed);
            std::process::ExitCode::SUCCESS
        }
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("loom-tests: {error}; usage: loom-tests [SCHEDULES [SEED]]");
            std::process::ExitCode::from(2)
        }
    }
}

#[cfg(not(any(loom, shuttle)))]
fn main() {
    eprintln!(
        "loom-tests: built without RUSTFLAGS=\"--cfg loom\", so there is no model to explore"
    );
}

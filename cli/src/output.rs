//! Standard output.
use std::io::{self, Write};

use crate::failure::Failure;

/// Prints text. A reader that has seen enough (`stillpoint info | head`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::of("standard output", &error))
        }
        _ => Ok(()),
    }
}

//! The terminal's mode: raw while a guest has it, and back to what it was however the process
//! ends, short of SIGKILL.
//!
//! The saved mode is global, because a panic hook and a signal thread must reach it.
use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// What the terminal was before.
static SAVED: OnceLock<Termios> = OnceLock::new();
/// Whether it is raw now.
static RAW: AtomicBool = AtomicBool::new(false);

/// Whether standard input is a terminal.
pub fn is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Makes the terminal on standard input raw; does nothing if there is none. Goes back with
/// [`restore`].
pub fn make_raw() -> io::Result<()> {
    if !is_terminal() {
        return Ok(());
    }
    let current = tcgetattr(io::stdin())?;
    let mut raw = SAVED.get_or_init(|| current).clone();
    raw.make_raw();
    // Set before the mode: a signal in between restores what is there already.
    // SeqCst: pairs with the swap in `restore`; not worth a thought at this rate.
    RAW.store(true, Ordering::SeqCst);
    tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
    Ok(())
}

/// Puts the terminal back as it was, if it is raw; says whether it was.
pub fn restore() -> bool {
    // SeqCst: see `make_raw`.
    if !RAW.swap(false, Ordering::SeqCst) {
        return false;
    }
    if let Some(saved) = SAVED.get() {
        // If it fails the terminal is gone, and there is nothing to restore.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, saved);
    }
    true
}

/// Makes the terminal raw if it should be: somebody else may have set another mode since.
pub fn make_raw_again() {
    if is_raw() {
        // If it fails the terminal is gone.
        let _ = make_raw();
    }
}

/// Whether a line must end with CR LF: a raw terminal does not return the carriage by itself.
fn is_raw() -> bool {
    // SeqCst: see `make_raw`.
    RAW.load(Ordering::SeqCst)
}

thread_local! {
    /// Whether this thread has panicked before.
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// Sees to it that a panic leaves a terminal on which its message can be read.
pub fn restore_on_panic() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let was_raw = restore();
        previous(info);
        // A panic of another thread need not end the process, and the guest keeps the terminal.
        // A second one of the same thread aborts without unwinding, and nobody would restore the
        // terminal after that.
        let is_first = !PANICKED.replace(true);
        let on_main = std::thread::current().name() == Some("main");
        if was_raw && is_first && !on_main {
            let _ = make_raw();
        }
    }));
}

/// Standard error with line ends that fit the terminal's mode.
#[derive(Debug, Default)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        if is_raw() && io::stderr().is_terminal() {
            stderr.write_all(&with_carriage_returns(bytes))?;
        } else {
            stderr.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn with_carriage_returns(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    for &byte in bytes {
        if byte == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::with_carriage_returns;

    #[test]
    fn lines_return_the_carriage_once() {
        assert_eq!(with_carriage_returns(b"a\nb\r\nc\n\n"), b"a\r\nb\r\nc\r\n\r\n");
    }
}

//! Signals that end the VMM, taken by a thread of their own.
//!
//! The first one asks for an orderly end; a second one, when that takes too long for somebody,
//! ends the process at once. Either way the terminal is restored.
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use crate::events::Event;
use crate::terminal;

/// Starts the thread; signals come as [`Event::Signal`].
pub fn watch(events: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGCONT])?;
    std::thread::Builder::new().name("signals".to_owned()).stack_size(64 << 10).spawn(
        move || {
            let mut asked = false;
            for signal in signals.forever() {
                if signal == SIGCONT {
                    // A shell that continues a stopped job leaves the terminal in its own mode.
                    terminal::make_raw_again();
                    continue;
                }
                if asked || events.send(Event::Signal(signal)).is_err() {
                    terminal::restore();
                    std::process::exit(128 + signal);
                }
                asked = true;
            }
        },
    )?;
    Ok(())
}

/// Something that is readable when the terminal may have another size.
pub fn pipe_of_resizes() -> io::Result<OwnedFd> {
    let (sign, resized) = UnixStream::pair()?;
    sign.set_nonblocking(true)?;
    // The handler keeps its end for as long as the process lives: there is one terminal.
    signal_hook::low_level::pipe::register(SIGWINCH, sign)?;
    Ok(resized.into())
}

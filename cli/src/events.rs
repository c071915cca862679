//! What the main thread of a VMM waits for, and what becomes of its VM then.
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use vmm::control::VmmControl;

use crate::backend::End;
use crate::failure::Failure;
use crate::terminal;

/// What ends the wait of the main thread.
#[derive(Debug)]
pub enum Event {
    /// One that ends processes.
    Signal(i32),
    /// Ctrl-A x.
    EndKey,
    /// The VM has ended.
    Ended(End),
    /// A VM that was to come is here, or will not come.
    Arrived(Result<(), Failure>),
}

/// Tells the person at the terminal. Without anybody to tell, nothing is lost.
pub fn say(text: &str) {
    use std::io::Write;
    let _ = terminal::Stderr.write_all(text.as_bytes());
}

/// The next event. Senders live as long as the VM: without any, nobody could end it any more.
pub fn next(events: &Receiver<Event>) -> Event {
    events.recv().unwrap_or(Event::EndKey)
}

/// The next event, if one comes within so much time.
pub fn next_within(events: &Receiver<Event>, limit: Duration) -> Option<Event> {
    match events.recv_timeout(limit) {
        Ok(event) => Some(event),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Event::EndKey),
    }
}

/// Ends the VM, unless it has ended, and tells what is to be made of it.
pub fn finish(control: &dyn VmmControl, event: Event) -> Result<(), Failure> {
    let result = match event {
        Event::Ended(End::PoweredOff | End::Requested) => return Ok(()),
        Event::Ended(End::Failed(message)) => return Err(Failure::Failed(message)),
        Event::Ended(End::Moved(place)) => {
            terminal::restore();
            say(&format!("the VM is at {place} now\n"));
            return Ok(());
        }
        Event::Arrived(arrived) => arrived,
        Event::Signal(number) => Err(Failure::Signal(number)),
        Event::EndKey => Ok(()),
    };
    // Restored before the VM is ended: should that hang, a second signal ends the process.
    terminal::restore();
    control.vmm_shutdown()?;
    result
}

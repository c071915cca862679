//! Between the keyboard and a console: Ctrl-A and what follows it are for the VMM.
use std::os::fd::AsFd;
use std::sync::mpsc::Sender;

use crate::backend::{OpenTerminal, Terminal};
use crate::escape::{Command, EscapeFilter};
use crate::events::{Event, say};
use crate::{signals, terminal};

const HELP: &str =
    "\r\nCtrl-A x  end the VM\r\nCtrl-A h  this help\r\nCtrl-A Ctrl-A  send Ctrl-A\r\n";

/// What the VMM calls when a console is to be on the terminal.
pub fn open_terminal(events: Sender<Event>) -> OpenTerminal {
    Box::new(move || {
        let input = std::io::stdin().as_fd().try_clone_to_owned()?;
        let output = std::io::stdout().as_fd().try_clone_to_owned()?;
        let resized = Some(signals::pipe_of_resizes()?);
        terminal::make_raw()?;
        let filter = Keys { events: events.clone(), escape: EscapeFilter::default() };
        Ok(Terminal { input, output, resized, filter: Box::new(filter) })
    })
}

/// Between the keyboard and the guest.
struct Keys {
    events: Sender<Event>,
    escape: EscapeFilter,
}

impl vmm::consoles::InputFilter for Keys {
    fn filter(&mut self, input: &[u8], guest: &mut Vec<u8>) {
        for command in self.escape.feed(input, guest) {
            match command {
                // Nobody listens any more when it is ending already.
                Command::End => drop(self.events.send(Event::EndKey)),
                Command::Help => say(HELP),
            }
        }
    }
}

//! `top`: a live view of one VM, made of `vm.info` and `vm.counters` five times a second.
//!
//! ```text
//!  Watching ──VMM gone──▶ Ended ──any key──▶ quit
//!     └──q, Esc, Ctrl-C──▶ quit
//! ```
mod model;
mod view;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use vmm::control::{Counters, VmInfo};

use crate::args::Target;
use crate::client::{Client, ClientError};
use crate::failure::Failure;
use crate::target::{Found, find};
use model::{Model, Sample};

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(200);
/// How long a look may take before the view says that the VMM does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows the VM until somebody quits.
pub fn top(target: &Target) -> Result<(), Failure> {
    let found = find(target)?;
    let failed = |error: io::Error| Failure::of("terminal", &error);
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let result = watch(found, &mut terminal).map_err(failed);
    ratatui::restore();
    result
}

fn watch(found: Found, terminal: &mut ratatui::DefaultTerminal) -> io::Result<()> {
    let Found { name, socket, client } = found;
    let mut connection = Some(client);
    let mut model = Model::new(name);
    let mut next = Instant::now();
    loop {
        if Instant::now() >= next {
            if !model.has_ended() {
                look(&socket, &mut connection, &mut model);
            }
            next = Instant::now() + PERIOD;
        }
        terminal.draw(|frame| view::draw(frame, &mut model))?;
        if !event::poll(next.saturating_duration_since(Instant::now()))? {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue };
        if key.kind != KeyEventKind::Press {
            continue;
        }
        match action(key) {
            _ if model.has_ended() => return Ok(()),
            Action::Quit => return Ok(()),
            Action::Scroll(lines) => model.scroll(lines),
            Action::Put(endpoint) => {
                model.message = Some(put(&socket, &mut connection, endpoint));
                next = Instant::now();
            }
            Action::None => {}
        }
    }
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Quit,
    Put(&'static str),
    Scroll(isize),
    None,
}

fn action(key: KeyEvent) -> Action {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Action::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Action::Quit,
        KeyCode::Char('p') => Action::Put("vm.pause"),
        KeyCode::Char('r') => Action::Put("vm.resume"),
        KeyCode::Char('n') => Action::Put("vm.nmi"),
        KeyCode::Up | KeyCode::Char('k') => Action::Scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => Action::Scroll(1),
        KeyCode::PageUp => Action::Scroll(-10),
        KeyCode::PageDown => Action::Scroll(10),
        KeyCode::Home => Action::Scroll(isize::MIN),
        KeyCode::End => Action::Scroll(isize::MAX),
        _ => Action::None,
    }
}

/// Runs `request` on the connection, made anew if the last one broke.
fn with<T>(
    socket: &Path,
    connection: &mut Option<Client>,
    request: impl FnOnce(&mut Client) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let mut client = match connection.take() {
        Some(client) => client,
        None => Client::connect(socket)?,
    };
    client.set_timeout(PATIENCE)?;
    let result = request(&mut client);
    // After a time-out the answer may still come, and would be taken for the next one's.
    if matches!(&result, Ok(_) | Err(ClientError::Refused { .. })) {
        *connection = Some(client);
    }
    result
}

fn look(socket: &Path, connection: &mut Option<Client>, model: &mut Model) {
    let sample = with(socket, connection, |client| {
        let info: VmInfo = client.get("vm.info")?;
        let counters: Counters = client.get("vm.counters")?;
        Ok(Sample { at: Instant::now(), info, counters })
    });
    match sample {
        Ok(sample) => model.add(sample),
        Err(ClientError::NotRunning(_)) => model.end(),
        // The connection broke, as it does when the VMM ends: the next look tells.
        Err(ClientError::Io { .. }) => {}
        Err(error) => model.trouble = Some(error.to_string()),
    }
}

fn put(socket: &Path, connection: &mut Option<Client>, endpoint: &str) -> String {
    match with(socket, connection, |client| client.put(endpoint)) {
        Ok(()) => format!("{endpoint}: done"),
        Err(error) => format!("{endpoint}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let plain = |code| action(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(plain(KeyCode::Char('q')), Action::Quit);
        assert_eq!(plain(KeyCode::Char('p')), Action::Put("vm.pause"));
        assert_eq!(plain(KeyCode::Char('r')), Action::Put("vm.resume"));
        assert_eq!(plain(KeyCode::Char('n')), Action::Put("vm.nmi"));
        assert_eq!(plain(KeyCode::Char('c')), Action::None);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(action(control_c), Action::Quit);
    }
}

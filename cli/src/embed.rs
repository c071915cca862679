//! A VMM in this process, with its API under a name or a path.
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use vmm::api::{ApiError, ApiServer};
use vmm::control::{VmEnd, VmmControl};

use crate::attend::take_away;
use crate::backend::{self, End};
use crate::events::{Event, say};
use crate::failure::Failure;
use crate::keys::open_terminal;
use crate::names;

/// What a VMM is started for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// To run one VM, and to end with it.
    OneVm {
        /// When the process started.
        started: Instant,
        /// What to say about it.
        announcement: Announcement,
    },
    /// To serve clients until one of them ends it.
    Serve,
}

impl Purpose {
    /// Whether a console can be on the terminal.
    fn has_terminal(self) -> bool {
        !matches!(self, Self::OneVm { announcement: Announcement::None, .. })
    }
}

/// What is said on standard error when a VM begins: nothing, should it not come to that.
#[derive(Clone, Copy, Debug)]
pub enum Announcement {
    /// Nothing.
    None,
    /// Where its API is.
    Socket,
    /// That, and the keys.
    WithKeys,
}

impl Announcement {
    /// To be called before the guest prints.
    fn of(self, name: &str, socket: &Path) -> Option<Box<dyn FnOnce() + Send>> {
        let keys = match self {
            Self::None => return None,
            Self::Socket => "",
            Self::WithKeys => "; Ctrl-A x ends it, Ctrl-A h helps",
        };
        let line = format!("{name}: API on {}{keys}\n", socket.display());
        Some(Box::new(move || {
            take_away();
            say(&line);
        }))
    }
}

/// A VMM with its API.
pub struct Vmm {
    pub name: String,
    pub socket: std::path::PathBuf,
    pub control: Arc<dyn VmmControl>,
    server: ApiServer,
}

impl Vmm {
    /// Starts one, and its API under the name or the path that were given or else under the next
    /// free name.
    pub fn start(
        name: Option<&str>,
        socket: Option<&Path>,
        events: &Sender<Event>,
        purpose: Purpose,
    ) -> Result<Self, Failure> {
        let start = |name: String, socket: &Path| {
            let (started, vm_end, announcement) = match purpose {
                Purpose::OneVm { started, announcement } => {
                    (Some(started), VmEnd::VmmEnds, announcement)
                }
                Purpose::Serve => (None, VmEnd::VmmStays, Announcement::None),
            };
            let options = backend::Options {
                name: Some(name.clone()),
                started,
                on_first_boot: announcement.of(&name, socket),
                vm_end,
                open_terminal: purpose.has_terminal().then(|| open_terminal(events.clone())),
                on_end: on_end(events.clone()),
            };
            let control = backend::start(options)?;
            match ApiServer::start(socket, Arc::clone(&control)) {
                Ok(server) => Ok(Self { name, socket: socket.to_path_buf(), control, server }),
                Err(error) => {
                    control.vmm_shutdown()?;
                    Err(StartError::Api(error))
                }
            }
        };
        if let Some(socket) = socket {
            let name = name.map_or_else(|| names::name_of(socket), str::to_owned);
            return Ok(start(name, socket)?);
        }
        if let Some(name) = name {
            return match start(name.to_owned(), &names::socket_of(name)?) {
                Err(StartError::Api(ApiError::InUse { pid, .. })) => {
                    let pid = pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
                    Err(Failure::Failed(format!("a VM named {name:?} runs already{pid}")))
                }
                result => Ok(result?),
            };
        }
        for name in names::generated() {
            let socket = names::socket_of(&name)?;
            if socket.exists() && !vmm::api::remove_stale(&socket)? {
                continue;
            }
            match start(name, &socket) {
                // Somebody was faster.
                Err(StartError::Api(ApiError::InUse { .. })) => {}
                result => return Ok(result?),
            }
        }
        Err(Failure::Failed("every generated name is taken; give one with --name".to_owned()))
    }

    /// Ends the VM, if it has not ended, and removes the socket.
    pub fn end(self) {
        if let Err(error) = self.control.vmm_shutdown() {
            tracing::debug!(%error, "the VMM has ended before");
        }
        self.server.stop();
    }
}

/// Why a VMM did not start.
enum StartError {
    Api(ApiError),
    Control(vmm::control::ControlError),
}

impl From<vmm::control::ControlError> for StartError {
    fn from(error: vmm::control::ControlError) -> Self {
        Self::Control(error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Api(error) => error.into(),
            StartError::Control(error) => error.into(),
        }
    }
}

fn on_end(events: Sender<Event>) -> Box<dyn Fn(End) + Send> {
    Box::new(move |end| {
        // Nobody listens any more when the end was asked for here.
        let _ = events.send(Event::Ended(end));
    })
}

//! `run`: a VM from the command line's options, in the foreground or as the process that
//! `--detach` makes.
//!
//! ```text
//!  options ─▶ VmConfig ─▶ VMM ─▶ API socket ─▶ create ─▶ boot ─▶ wait for an Event ─▶ end
//! ```
//! Whatever fails on the way undoes what was done before it.
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use vmm::api::{ApiError, ApiServer};
use vmm::config::{ConsoleConfig, ConsoleMode, VmConfig};
use vmm::control::{VmEnd, VmmControl};

use crate::args::{Logging, Run};
use crate::backend::{self, End, OpenTerminal, Terminal};
use crate::escape::{Command, EscapeFilter};
use crate::failure::Failure;
use crate::{detach, logging, names, signals, terminal};

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

const HELP: &str =
    "\r\nCtrl-A x  end the VM\r\nCtrl-A h  this help\r\nCtrl-A Ctrl-A  send Ctrl-A\r\n";

/// Tells the person at the terminal. Without anybody to tell, nothing is lost.
pub fn say(text: &str) {
    use std::io::Write;
    let _ = terminal::Stderr.write_all(text.as_bytes());
}

/// Runs the VM until it ends.
pub fn run(options: &Run, logging: &Logging, started: Instant) -> Result<(), Failure> {
    let config = config_of(options)?;
    if options.detach && !options.detached {
        return detach::spawn();
    }
    if options.detached {
        // Started by way of /proc/self/exe, it would be called "exe" in `ps`. Fails for no good name.
        let _ = rustix::thread::set_name(c"stillpoint");
    }
    vmm::process::prepare(config.cpus.max_vcpus);
    let log = logging::start(logging)?;
    terminal::restore_on_panic();
    let (events, received) = channel();
    signals::watch(events.clone()).map_err(|error| Failure::of("signals", &error))?;
    let has_terminal =
        config.serial.mode == ConsoleMode::Tty || config.console.mode == ConsoleMode::Tty;
    let announcement = match (options.detached, has_terminal) {
        (true, _) => Announcement::None,
        (false, true) => Announcement::WithKeys,
        (false, false) => Announcement::Socket,
    };
    let vmm = Vmm::start(
        options.name.as_deref(),
        options.api_socket.as_deref(),
        &events,
        Purpose::OneVm { started, announcement },
    )?;
    let booted = vmm.control.create(config).and_then(|()| vmm.control.boot());
    if let Err(error) = booted {
        vmm.end();
        terminal::restore();
        return Err(error.into());
    }
    if options.detached {
        detach::report_running(&vmm.name)?;
    }
    let result = finish(&*vmm.control, next(&received));
    vmm.end();
    terminal::restore();
    drop(log);
    result
}

/// The next event. Senders live as long as the VM: without any, nobody could end it any more.
pub fn next(events: &Receiver<Event>) -> Event {
    events.recv().unwrap_or(Event::EndKey)
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
        Some(Box::new(move || say(&line)))
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

/// What the VMM calls when a console is to be on the terminal.
fn open_terminal(events: Sender<Event>) -> OpenTerminal {
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

fn config_of(options: &Run) -> Result<VmConfig, Failure> {
    let usage = |error: vmm::config::ConfigError| Failure::Usage(error.to_string());
    let in_background = options.detach || options.detached;
    let mut config = VmConfig::default();
    if let Some(cpus) = &options.cpus {
        config.cpus = cpus.parse().map_err(usage)?;
    }
    if let Some(memory) = &options.memory {
        config.memory = memory.parse().map_err(usage)?;
    } else if !options.memory_zone.is_empty() {
        // They have sizes of their own.
        config.memory.size = 0;
    }
    for zone in &options.memory_zone {
        config.memory.zones.push(zone.parse().map_err(usage)?);
    }
    for node in &options.numa {
        config.numa.push(node.parse().map_err(usage)?);
    }
    if let Some(console) = &options.console {
        config.console = ConsoleConfig::parse_console(console).map_err(usage)?;
    }
    config.serial = match &options.serial {
        Some(serial) => ConsoleConfig::parse_serial(serial).map_err(usage)?,
        // The terminal is for one of them.
        None if in_background || config.console.mode == ConsoleMode::Tty => {
            ConsoleConfig::of_mode(ConsoleMode::Null)
        }
        None => ConsoleConfig::of_mode(ConsoleMode::Tty),
    };
    for disk in &options.disk {
        config.disks.push(disk.parse().map_err(usage)?);
    }
    for net in &options.net {
        config.net.push(net.parse().map_err(usage)?);
    }
    config.rng = parse_optional(options.rng.as_deref())?;
    config.vsock = parse_optional(options.vsock.as_deref())?;
    config.balloon = parse_optional(options.balloon.as_deref())?;
    config.pvpanic = options.pvpanic;
    config.watchdog = options.watchdog;
    for (option, console) in [("--serial", &config.serial), ("--console", &config.console)] {
        if in_background && console.mode == ConsoleMode::Tty {
            return Err(Failure::Usage(format!(
                "{option} tty: a VM in the background has no terminal; try pty, file= or socket="
            )));
        }
    }
    config.payload.kernel.clone_from(&options.kernel);
    config.payload.initramfs.clone_from(&options.initramfs);
    config.payload.cmdline.clone_from(&options.cmdline);
    config.validate().map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(config)
}

fn parse_optional<T>(text: Option<&str>) -> Result<Option<T>, Failure>
where
    T: std::str::FromStr<Err = vmm::config::ConfigError>,
{
    text.map(str::parse::<T>)
        .transpose()
        .map_err(|error: vmm::config::ConfigError| Failure::Usage(error.to_string()))
}

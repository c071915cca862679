//! `run`: a VM from the command line's options, in the foreground or as the process that
//! `--detach` makes.
//!
//! ```text
//!  options ─▶ VmConfig ─▶ VMM ─▶ API socket ─▶ create ─▶ boot ─▶ wait for an Event ─▶ end
//! ```
//! Whatever fails on the way undoes what was done before it.
mod config;

use std::sync::mpsc::channel;
use std::time::Instant;

use vmm::config::ConsoleMode;

use crate::args::{Logging, Run};
use crate::embed::{Announcement, Purpose, Vmm};
use crate::events::{finish, next};
use crate::failure::Failure;
use crate::{detach, logging, signals, terminal};
use config::config_of;

/// Runs the VM until it ends.
pub fn run(options: &Run, logging: &Logging, started: Instant) -> Result<(), Failure> {
    let config = config_of(options)?;
    if options.place.detach && !options.place.detached {
        return detach::spawn();
    }
    if options.place.detached {
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
    let announcement = match (options.place.detached, has_terminal) {
        (true, _) => Announcement::None,
        (false, true) => Announcement::WithKeys,
        (false, false) => Announcement::Socket,
    };
    let vmm = Vmm::start(
        options.place.name.as_deref(),
        options.place.api_socket.as_deref(),
        &events,
        Purpose::OneVm { started, announcement },
    )?;
    let booted = vmm.control.create(config).and_then(|()| vmm.control.boot());
    if let Err(error) = booted {
        vmm.end();
        terminal::restore();
        return Err(error.into());
    }
    if options.place.detached {
        detach::report_running(&vmm.name)?;
    }
    let result = finish(&*vmm.control, next(&received));
    vmm.end();
    terminal::restore();
    drop(log);
    result
}

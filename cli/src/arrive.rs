//! `restore` and `receive`: a VM that was elsewhere, in the foreground or as the process that `--detach` makes.
//!
//! ```text
//!  options ─▶ VMM ─▶ API socket ─▶ a thread asks for the VM ─▶ Event::Arrived ─▶ wait for an Event ─▶ end
//! ```
//! The main thread waits for signals meanwhile: who waits for a VM can be ended at any time.
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use vmm::config::{MAX_VCPUS, MemoryRestoreMode, ReceiveMigrationConfig, RestoreConfig};
use vmm::control::VmmControl;

use crate::args::{Logging, Place, Receive, Restore};
use crate::failure::Failure;
use crate::run::{Announcement, Event, Purpose, Vmm, finish, next, say};
use crate::snapshot::{absolute, file_url};
use crate::{detach, logging, signals, terminal};

/// Asks for the VM, and returns when it is here. Says where it waits, if it does.
type Ask = Box<dyn FnOnce(&dyn VmmControl, &(dyn Fn(&str) + Sync)) -> Result<(), Failure> + Send>;

/// Runs a VM from a snapshot until it ends.
pub fn restore(options: &Restore, logging: &Logging, started: Instant) -> Result<(), Failure> {
    let memory_restore_mode = match options.memory.as_str() {
        "copy" => MemoryRestoreMode::Copy,
        "ondemand" => MemoryRestoreMode::OnDemand,
        other => {
            return Err(Failure::Usage(format!("--memory {other}: give copy or ondemand")));
        }
    };
    let source_url = file_url(&options.directory)?;
    let config = RestoreConfig { source_url, resume: !options.paused, memory_restore_mode };
    let ask: Ask = Box::new(move |control, _| Ok(control.restore(config)?));
    arrive(&options.place, logging, started, ask)
}

/// Runs a VM that another VMM sends until it ends.
pub fn receive(options: &Receive, logging: &Logging, started: Instant) -> Result<(), Failure> {
    let url: vmm::config::LinkUrl =
        options.url.parse().map_err(|problem: String| Failure::Usage(problem))?;
    let mut config = ReceiveMigrationConfig::on(&url.to_string());
    config.tls_dir = options.tls_dir.as_deref().map(absolute).transpose()?;
    config.validate().map_err(|error| Failure::Usage(error.to_string()))?;
    let ask: Ask = Box::new(move |control, waiting| {
        Ok(control.receive_migration(config, &|url| waiting(&url.to_string()))?)
    });
    arrive(&options.place, logging, started, ask)
}

fn arrive(place: &Place, logging: &Logging, started: Instant, ask: Ask) -> Result<(), Failure> {
    if place.detach && !place.detached {
        return detach::spawn();
    }
    if place.detached {
        // As `run` does.
        let _ = rustix::thread::set_name(c"stillpoint");
    }
    vmm::process::prepare(MAX_VCPUS);
    let log = logging::start(logging)?;
    terminal::restore_on_panic();
    let (events, received) = channel();
    signals::watch(events.clone()).map_err(|error| Failure::of("signals", &error))?;
    let announcement = match (place.detached, terminal::is_terminal()) {
        (true, _) => Announcement::None,
        (false, true) => Announcement::WithKeys,
        (false, false) => Announcement::Socket,
    };
    let (name, socket) = (place.name.as_deref(), place.api_socket.as_deref());
    let vmm = Vmm::start(name, socket, &events, Purpose::OneVm { started, announcement })?;
    let detached = place.detached;
    let (control, name) = (Arc::clone(&vmm.control), vmm.name.clone());
    let asking = std::thread::Builder::new().name("arrival".to_owned()).spawn(move || {
        let waiting = |url: &str| {
            if detached {
                // Whoever started it learns of what fails later by the log.
                let _ = detach::report_waiting(&name, url);
            } else {
                say(&format!("{name}: waiting for a VM on {url}\n"));
            }
        };
        let arrived = ask(&*control, &waiting);
        // Nobody listens any more when the end was asked for.
        let _ = events.send(Event::Arrived(arrived));
    });
    asking.map_err(|error| Failure::of("cannot start a thread", &error))?;
    let result = loop {
        match next(&received) {
            Event::Arrived(Ok(())) if detached => {
                // Says nothing any more if it was said that it waits.
                let _ = detach::report_running(&vmm.name);
            }
            Event::Arrived(Ok(())) => {}
            event => break finish(&*vmm.control, event),
        }
    };
    vmm.end();
    terminal::restore();
    drop(log);
    result
}

//! `serve`: a VMM without a VM, until a client ends it.
use std::sync::mpsc::channel;

use vmm::config::MAX_VCPUS;

use crate::args::{Logging, Serve};
use crate::backend::End;
use crate::embed::{Purpose, Vmm};
use crate::events::{Event, finish, next};
use crate::failure::Failure;
use crate::output::print;
use crate::{logging, signals, terminal};

/// Serves until `vmm.shutdown` or a signal. The end of the VM alone does not end it: `vm.info`
/// tells how it ended, and it can be booted again.
pub fn serve(options: &Serve, logging: &Logging) -> Result<(), Failure> {
    vmm::process::prepare(MAX_VCPUS);
    let log = logging::start(logging)?;
    terminal::restore_on_panic();
    let (events, received) = channel();
    signals::watch(events.clone()).map_err(|error| Failure::of("signals", &error))?;
    let (name, socket) = (options.name.as_deref(), options.api_socket.as_deref());
    let vmm = Vmm::start(name, socket, &events, Purpose::Serve)?;
    print(&format!("{}: API on {}\n", vmm.name, vmm.socket.display()))?;
    let result = loop {
        match next(&received) {
            Event::Ended(End::PoweredOff) => tracing::info!("the guest has powered off"),
            Event::Ended(End::Moved(place)) => tracing::info!("the VM is at {place} now"),
            Event::Ended(End::Failed(error)) => tracing::error!("the VM has failed: {error}"),
            event => break finish(&*vmm.control, event),
        }
    };
    vmm.end();
    terminal::restore();
    drop(log);
    result
}

//! A VM behind the API socket of a process of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use vmm::sched;

use super::process::{Tie, VmmProcess};
use crate::cell::{ClientClass, Load};
use crate::cycles::Subject;
use crate::guest_memory::GuestMemory;
use crate::http::{Client, request};

/// A VM behind a socket.
pub struct Socket {
    client: Client,
    class: ClientClass,
    pause: Vec<u8>,
    resume: Vec<u8>,
    guest: GuestMemory,
    process: VmmProcess,
}

impl Socket {
    /// Starts it; returns when every vCPU is in its mode.
    pub fn start(stillpoint: &Path, load: Load, class: ClientClass) -> Result<Self> {
        let mut process = VmmProcess::spawn(stillpoint, load, Tie::ParentDeath)?;
        let mut client = process.connect()?;
        process.wait_running(&mut client)?;
        let guest = GuestMemory::of(process.pid(), load)?;
        guest.wait_ready()?;
        let [pause, resume] = ["vm.pause", "vm.resume"].map(|what| request("PUT", what));
        Ok(Self { client, class, pause, resume, guest, process })
    }

    /// The process id of the VMM.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends it in order.
    pub fn end(self) -> Result<()> {
        drop(self.client);
        self.process.end()
    }
}

impl Subject for Socket {
    fn pause(&mut self) -> Result<Duration> {
        ask(self.class, &mut self.client, &self.pause)
    }

    fn resume(&mut self) -> Result<Duration> {
        ask(self.class, &mut self.client, &self.resume)
    }

    fn heartbeats(&mut self) -> Result<Vec<u64>> {
        self.guest.heartbeats()
    }
}

fn ask(class: ClientClass, client: &mut Client, request: &[u8]) -> Result<Duration> {
    let mut ask = || Ok(client.succeed(request)?.0);
    match class {
        ClientClass::Prompt => sched::ask_promptly(ask),
        ClientClass::Ordinary => ask(),
    }
}

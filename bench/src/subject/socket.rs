//! A VM behind the API socket of a process of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::process::{Tie, VmmProcess};
use crate::cell::Load;
use crate::cycles::Subject;
use crate::guest_memory::GuestMemory;
use crate::http::{Client, request};

/// A VM behind a socket.
pub struct Socket {
    client: Client,
    pause: Vec<u8>,
    resume: Vec<u8>,
    guest: GuestMemory,
    process: VmmProcess,
}

impl Socket {
    /// Starts it; returns when every vCPU is in its mode.
    pub fn start(stillpoint: &Path, load: Load) -> Result<Self> {
        let mut process = VmmProcess::spawn(stillpoint, load, Tie::ParentDeath)?;
        let mut client = process.connect()?;
        process.wait_running(&mut client)?;
        let guest = GuestMemory::of(process.pid(), load)?;
        guest.wait_ready()?;
        let [pause, resume] = ["vm.pause", "vm.resume"].map(|what| request("PUT", what));
        Ok(Self { client, pause, resume, guest, process })
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
        Ok(self.client.succeed(&self.pause)?.0)
    }

    fn resume(&mut self) -> Result<Duration> {
        Ok(self.client.succeed(&self.resume)?.0)
    }

    fn heartbeats(&mut self) -> Result<Vec<u64>> {
        self.guest.heartbeats()
    }
}

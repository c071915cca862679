//! Watched RAM, as those see it who bring its pages.

use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use devices::memory::{Presence, set_presence};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use vcpu_state::sync::Arc;
use vcpu_state::sync::atomic::{AtomicU8, Ordering};

use super::super::GuestRam;
use super::super::uffd::{Uffd, UffdError};
use super::gate::Gate;
use super::holes::each_hole;
use super::{GIVEN_UP, Missing, STOPPED};

const EARLY: u8 = 0;
const LIVE: u8 = 1;
const FAILED: u8 = 2;

/// When pages turned out not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The VM has not run, and will not.
    Early,
    /// It runs.
    Live,
}

/// Watched RAM.
#[derive(Debug)]
pub(crate) struct LazyRam {
    uffd: Uffd,
    stage: AtomicU8,
    /// Whoever places pages passes it; closed when they are given up.
    placing: Gate,
    why: OnceLock<String>,
}

impl LazyRam {
    /// Whether this host can do it at all.
    ///
    /// # Errors
    /// What it lacks.
    pub(crate) fn probe() -> Result<(), UffdError> {
        Uffd::open().map(drop)
    }

    /// Watches RAM of which so many pages hold something that is still to come. It has to have holes where they belong.
    ///
    /// # Errors
    /// The host cannot, or may not.
    pub(crate) fn watch(ram: &GuestRam, missing: u64) -> Result<Arc<Self>, UffdError> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| UffdError::Open(error.into()))?;
        let uffd = Uffd::watch(ram)?;
        if ram.missing().bell.set(bell).is_err() {
            return Err(UffdError::Kind("watched already"));
        }
        ram.missing().set_pages(missing.max(1));
        set_presence(ram.memory(), Presence::Coming);
        let (stage, placing) = (AtomicU8::new(EARLY), Gate::open());
        Ok(Arc::new(Self { uffd, stage, placing, why: OnceLock::new() }))
    }

    /// The RAM itself.
    pub(super) fn ram(&self) -> &GuestRam {
        self.uffd.ram()
    }

    fn missing(&self) -> &Missing {
        self.uffd.ram().missing()
    }

    /// Returns when somebody waits for a page, something is said of the RAM, or the time is over.
    pub(crate) fn poll(&self, timeout: Option<Duration>) -> io::Result<()> {
        let bell = self.missing().bell.get();
        let mut fds = vec![PollFd::new(&self.uffd, PollFlags::IN)];
        fds.extend(bell.map(|bell| PollFd::new(bell, PollFlags::IN)));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(bell) = bell {
            // Nothing to be read is as well.
            let _ = rustix::io::read(bell.as_fd(), &mut [0; 8]);
        }
        Ok(())
    }

    /// The next page that somebody waits for, if anybody does.
    pub(crate) fn next_fault(&self) -> io::Result<Option<u64>> {
        self.uffd.next_fault()
    }

    /// Puts pages that hold something into their places; those that are there stay as they are, and all when they have been given up.
    pub(crate) fn place(&self, first: u64, pages: &[u8]) -> io::Result<()> {
        let Some(_pass) = self.placing.pass() else { return Ok(()) };
        let new = self.uffd.place(first, pages)?;
        self.missing().arrived(new);
        Ok(())
    }

    /// The same with pages of zeros, of which `Counted` ones were said to be missing.
    pub(crate) fn place_zeros(&self, first: u64, count: u64, counted: Counted) -> io::Result<()> {
        let Some(_pass) = self.placing.pass() else { return Ok(()) };
        let new = self.uffd.place_zeros(first, count)?;
        if counted == Counted::Yes {
            self.missing().arrived(new);
        }
        Ok(())
    }

    /// The VM may run from here on.
    ///
    /// # Errors
    /// Why it may not: pages cannot be had.
    pub(crate) fn go_live(&self) -> Result<(), String> {
        // AcqRel: one order with `fail`.
        match self.stage.compare_exchange(EARLY, LIVE, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(LIVE) => Ok(()),
            Err(_) => Err(self.why.get().cloned().unwrap_or_default()),
        }
    }

    /// Pages cannot be had, for this reason. Again is the same.
    pub(crate) fn fail(&self, why: &str) -> Failure {
        // The first reason stands. Before the stage, so that who finds that finds the reason.
        let _ = self.why.set(why.to_owned());
        match self.stage.compare_exchange(EARLY, FAILED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(FAILED) => Failure::Early,
            Err(_) => Failure::Live,
        }
    }

    /// The VM will not be let go although that was said.
    pub(crate) fn abandon(&self) {
        // Release: as in `fail`.
        self.stage.store(FAILED, Ordering::Release);
    }

    /// Sees to those who wait for pages that cannot be had. Of a VM that runs, its owner does, who has been told; this returns when that is so.
    pub(crate) fn refuse(&self, failure: Failure) -> io::Result<()> {
        if failure == Failure::Early {
            // Who waits finds zeros, with which nothing will be done.
            return self.uffd.end();
        }
        while !self.is_stopped() {
            // Whoever waits is woken when the pages are given up; what is not read would keep the poll from waiting.
            while self.next_fault()?.is_some() {}
            self.poll(None)?;
        }
        Ok(())
    }

    /// The VM ends, and its vCPUs' and workers' words say so: the pages that have not come will not come. Whoever waits for one gets an error, and so
    /// does whoever touches one later.
    ///
    /// # Errors
    /// The host cannot; some wait on.
    pub(crate) fn give_up(&self) -> io::Result<()> {
        if self.missing().pages() == 0 || !self.missing().raise(GIVEN_UP) {
            return Ok(());
        }
        let ram = self.uffd.ram();
        set_presence(ram.memory(), Presence::GivenUp);
        self.placing.close();
        if self.missing().pages() == 0 {
            // They have all come in the meantime.
            return Ok(());
        }
        let memfd = ram.memfd().ok_or(io::ErrorKind::Unsupported)?;
        let mut denied = Ok(());
        for region in ram.regions() {
            let part = (region.file_offset, region.size);
            each_hole(memfd, part, |offset, len| {
                let place = region.host_address + (offset - region.file_offset);
                let end = region.host_address + region.size;
                // Too many pieces for the host: all the rest of the region then. Who is in the middle of an access there ends the VMM; nobody begins one.
                let all =
                    self.uffd.deny(place, len).or_else(|_| self.uffd.deny(place, end - place));
                if let Err(error) = all {
                    denied = Err(error);
                }
            })?;
        }
        // Also after an error: most of them come back.
        self.uffd.wake_all()?;
        denied
    }

    /// Has [`poll`](Self::poll) return.
    pub(crate) fn ring(&self) {
        self.missing().ring();
    }

    /// Nobody touches the RAM any more.
    pub(crate) fn stop(&self) {
        self.missing().raise(STOPPED);
    }

    /// Whether nobody needs any more of it.
    pub(crate) fn is_stopped(&self) -> bool {
        self.missing().has(STOPPED | GIVEN_UP)
    }

    /// All pages are there: what is not is zeros.
    pub(crate) fn end(&self) -> io::Result<()> {
        let Some(_pass) = self.placing.pass() else { return Ok(()) };
        self.uffd.end()?;
        set_presence(self.uffd.ram().memory(), Presence::Whole);
        self.missing().set_pages(0);
        Ok(())
    }
}

/// Whether pages of zeros are among those that are missing, or are those that nobody has listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// They are.
    Yes,
    /// They are not.
    No,
}

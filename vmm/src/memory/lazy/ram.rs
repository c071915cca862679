//! Watched RAM, as those see it who bring its pages.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use vcpu_state::sync::Arc;
use vcpu_state::sync::atomic::{AtomicU8, Ordering};

use super::super::GuestRam;
use super::super::uffd::{Uffd, UffdError};
use super::{FORSAKEN, Missing, STOPPED};

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
        Ok(Arc::new(Self { uffd, stage: AtomicU8::new(EARLY), why: OnceLock::new() }))
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

    /// Puts pages that hold something into their places; those that are there stay as they are.
    pub(crate) fn place(&self, first: u64, pages: &[u8]) -> io::Result<()> {
        let new = self.uffd.place(first, pages)?;
        self.missing().arrived(new);
        Ok(())
    }

    /// The same with pages of zeros, of which `Counted` ones were said to be missing.
    pub(crate) fn place_zeros(&self, first: u64, count: u64, counted: Counted) -> io::Result<()> {
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

    /// Sees to those who wait for pages that cannot be had, until nobody touches the RAM any more.
    pub(crate) fn refuse(&self, failure: Failure) -> io::Result<()> {
        if failure == Failure::Early {
            // Who waits finds zeros, with which nothing will be done.
            return self.uffd.end();
        }
        // Those that were heard of already are heard of again.
        self.uffd.wake_all()?;
        let mut waiting = BTreeSet::new();
        loop {
            while let Some(page) = self.next_fault()? {
                waiting.insert(page);
            }
            while self.missing().has(FORSAKEN)
                && let Some(page) = waiting.pop_first()
            {
                self.uffd.deny(page)?;
            }
            if self.is_stopped() {
                return Ok(());
            }
            self.poll(None)?;
        }
    }

    /// Has [`poll`](Self::poll) return.
    pub(crate) fn ring(&self) {
        self.missing().ring();
    }

    /// Nobody touches the RAM any more.
    pub(crate) fn stop(&self) {
        self.missing().raise(STOPPED);
    }

    /// Whether that is so.
    pub(crate) fn is_stopped(&self) -> bool {
        self.missing().has(STOPPED)
    }

    /// All pages are there: what is not is zeros.
    pub(crate) fn end(&self) -> io::Result<()> {
        self.uffd.end()?;
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

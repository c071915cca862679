//! A hypervisor that remembers what it was told.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_queue::SegQueue;

use crate::event::Event;
use crate::pci::platform::{MsiLine, MsiMessage, PciPlatform};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The hypervisor. Like KVM it takes no doorbell twice, and removes none that is not there.
#[derive(Default)]
pub struct FakePlatform {
    /// GPA and file descriptor.
    doorbells: ArcSwap<Vec<(u64, i32)>>,
    refuses: AtomicBool,
    lines: ArcSwap<Vec<Arc<FakeLine>>>,
    mistakes: AtomicU64,
}

impl FakePlatform {
    /// GPAs of the doorbells that are registered, in ascending order.
    pub fn doorbells(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.doorbells.load().iter().map(|(gpa, _)| *gpa).collect();
        all.sort_unstable();
        all
    }

    /// Lets it refuse every doorbell and every further line from now on, or no more.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    /// The lines that it has made.
    pub fn lines(&self) -> Vec<Arc<FakeLine>> {
        self.lines.load().to_vec()
    }

    /// What was asked of it that cannot be: a doorbell twice, or the end of one that was not there.
    pub fn mistakes(&self) -> u64 {
        self.mistakes.load(Ordering::Relaxed)
    }

    fn mistake(&self) -> io::Error {
        self.mistakes.fetch_add(1, Ordering::Relaxed);
        io::ErrorKind::InvalidInput.into()
    }
}

impl PciPlatform for FakePlatform {
    fn add_doorbell(&self, gpa: u64, event: &Event) -> io::Result<()> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let mut all = self.doorbells.load().to_vec();
        if all.iter().any(|(there, _)| *there == gpa) {
            return Err(self.mistake());
        }
        all.push((gpa, event.as_fd().as_raw_fd()));
        self.doorbells.store(Arc::new(all));
        Ok(())
    }

    fn remove_doorbell(&self, gpa: u64, event: &Event) -> io::Result<()> {
        let mut all = self.doorbells.load().to_vec();
        let fd = event.as_fd().as_raw_fd();
        let place = all.iter().position(|there| *there == (gpa, fd));
        all.remove(place.ok_or_else(|| self.mistake())?);
        self.doorbells.store(Arc::new(all));
        Ok(())
    }

    fn new_msi(&self) -> io::Result<Arc<dyn MsiLine>> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let line = Arc::new(FakeLine::default());
        self.lines.rcu(|lines| {
            let mut lines = lines.to_vec();
            lines.push(Arc::clone(&line));
            lines
        });
        Ok(line)
    }
}

/// An interrupt that remembers how it was raised.
#[derive(Default)]
pub struct FakeLine {
    route: ArcSwapOption<MsiMessage>,
    raised: SegQueue<Option<MsiMessage>>,
    routed: AtomicU64,
    refuses: AtomicBool,
}

impl FakeLine {
    /// What it is routed to.
    pub fn message(&self) -> Option<MsiMessage> {
        self.route.load().as_deref().copied()
    }

    /// The messages that it was raised with since the last call, in order.
    pub fn raised(&self) -> Vec<Option<MsiMessage>> {
        std::iter::from_fn(|| self.raised.pop()).collect()
    }

    /// How often it was routed.
    pub fn routed(&self) -> u64 {
        self.routed.load(Ordering::Relaxed)
    }

    /// Lets it refuse every route from now on, or no more.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }
}

impl MsiLine for FakeLine {
    fn route(&self, message: Option<MsiMessage>) -> io::Result<()> {
        if self.refuses.load(Ordering::Relaxed) && message.is_some() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.routed.fetch_add(1, Ordering::Relaxed);
        self.route.store(message.map(Arc::new));
        Ok(())
    }

    fn raise(&self) {
        self.raised.push(self.message());
    }
}

//! What an eventfd and an epoll instance are under a model checker.
//!
//! An event is a flag, and a poll a generation that every notification of what it listens to advances. A notification sets
//! the flag first; a poll reads the generation first, then the flags: as in the kernel, none is missed. Flags are
//! read by read-modify-writes, which see the newest value, because the kernel has a lock there.

use arc_swap::ArcSwapOption;
use vcpu_state::sync::{Arc, FutexWord};

use super::Event;
use crate::sync::atomic::{AtomicBool, Ordering};

/// The flag, and whom it wakes: the poll that began to listen last. One at a time is what workers need.
#[derive(Debug)]
pub(super) struct Model {
    notified: Arc<AtomicBool>,
    poll: ArcSwapOption<FutexWord>,
}

impl Default for Model {
    fn default() -> Self {
        Self { notified: Arc::new(AtomicBool::new(false)), poll: ArcSwapOption::empty() }
    }
}

impl Event {
    /// Makes it readable (model).
    pub fn notify(&self) {
        // AcqRel: pairs with the read-modify-writes of `clear` and `Poll::wait`.
        self.model.notified.fetch_or(true, Ordering::AcqRel);
        if let Some(generation) = &*self.model.poll.load() {
            generation.advance();
        }
    }

    /// Forgets all notifications until now; whether there were any (model).
    pub fn clear(&self) -> bool {
        // AcqRel: pairs with `notify`.
        self.model.notified.swap(false, Ordering::AcqRel)
    }
}

/// An epoll instance (model).
pub(crate) struct Poll {
    generation: Arc<FutexWord>,
    listened: Vec<(Arc<AtomicBool>, u64)>,
}

impl Poll {
    pub(crate) fn new() -> Self {
        Self { generation: Arc::new(FutexWord::new(0)), listened: Vec::new() }
    }

    /// Listens to an event from now on, under a name.
    pub(crate) fn add(&mut self, event: &Event, name: u64) {
        // AcqRel: pairs with `notify`, for the generation that it is about to find.
        event.model.notified.fetch_or(false, Ordering::AcqRel);
        event.model.poll.store(Some(Arc::clone(&self.generation)));
        self.listened.push((Arc::clone(&event.model.notified), name));
    }

    /// The names of what has been notified; sleeps until something has, if `sleepily`.
    pub(crate) fn wait(&self, sleepily: bool) -> Vec<u64> {
        loop {
            let seen = self.generation.load();
            // AcqRel: pairs with `notify`.
            let ready = |flag: &AtomicBool| flag.fetch_or(false, Ordering::AcqRel);
            let listened = self.listened.iter();
            let names: Vec<_> =
                listened.filter(|(flag, _)| ready(flag)).map(|(_, name)| *name).collect();
            if !names.is_empty() || !sleepily {
                return names;
            }
            self.generation.wait(seen, None);
        }
    }
}

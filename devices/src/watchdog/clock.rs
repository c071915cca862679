//! The thread that counts for a watchdog: a member of the device workers' group, so that a pause of the VM stops it.
//!
//! ```text
//!   look at the registers and the time ─▶ sleep until the end of the stage, a bell or a kick ─▶ look …
//!            ▲                                                                          │ Pause
//!            └───────────── the count goes on ◀── parked ◀── the count stands still ◀───┘
//! ```
//!
//! Invariants: while the member is PAUSED no time passes for the count, and nothing of the thread runs; a bell that is rung while
//! the thread looks is not lost, because it is cleared before the registers are read; the count ends with the member.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vcpu_state::{Member, Parked, Step};

use super::Shared;
use super::count::Count;
use crate::event::Event;

/// The thread's whole life.
pub(super) fn run(shared: &Shared, member: &mut Member, kick: &Arc<Event>) {
    if member.start() != Ok(Parked::Resumed) {
        return;
    }
    let mut sleep = Sleep::new(kick, &shared.bell);
    let mut count = Count::default();
    // What was restored, if anything.
    count.go_on(shared.left.get(), Instant::now());
    loop {
        match member.next() {
            Step::Kill => return,
            Step::Pause { epoch } => {
                shared.left.set(count.stand_still(Instant::now()));
                if member.park(epoch) == Parked::Killed {
                    return;
                }
                count.go_on(shared.left.get(), Instant::now());
            }
            // Nobody asks these of a worker, and it has no use for them.
            Step::OneShot(one_shot) => drop(member.take(one_shot)),
            Step::Enter | Step::Ticket => {
                // Before the registers are looked at: a later one stays.
                shared.bell.clear();
                let looked = count.look(&shared.registers, Instant::now());
                if looked.expired {
                    shared.sink.expired();
                }
                if member.enter().is_ok() {
                    let slept = sleep.until_something(looked.idle);
                    member.leave();
                    if let Err(error) = slept {
                        tracing::error!(%error, "the watchdog's clock cannot wait, and ends");
                        return;
                    }
                    // Before the word is looked at: a later kick stays.
                    kick.clear();
                }
            }
        }
    }
}

/// What the thread sleeps in.
#[cfg(not(any(loom, shuttle)))]
struct Sleep<'e> {
    kick: &'e Event,
    bell: &'e Event,
}

#[cfg(not(any(loom, shuttle)))]
impl<'e> Sleep<'e> {
    fn new(kick: &'e Arc<Event>, bell: &'e Event) -> Self {
        Self { kick, bell }
    }

    /// Returns at a kick, a bell, or when so much time has passed.
    fn until_something(&mut self, limit: Option<Duration>) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use std::os::fd::AsFd;

        // A stage lasts for a quarter of an hour at most.
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let (kick, bell) = (self.kick.as_fd(), self.bell.as_fd());
        let mut fds = [PollFd::new(&kick, PollFlags::IN), PollFd::new(&bell, PollFlags::IN)];
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The same under a model checker, for which no time passes.
#[cfg(any(loom, shuttle))]
struct Sleep(crate::event::Poll);

#[cfg(any(loom, shuttle))]
#[expect(clippy::unnecessary_wraps, reason = "the kernel's is like that")]
impl Sleep {
    fn new(kick: &Arc<Event>, bell: &Event) -> Self {
        let mut poll = crate::event::Poll::new();
        poll.add(kick, 0);
        poll.add(bell, 1);
        Self(poll)
    }

    fn until_something(&mut self, _limit: Option<Duration>) -> io::Result<()> {
        drop(self.0.wait(true));
        Ok(())
    }
}

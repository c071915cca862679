//! How a migration ended, once everything is found in order: at most one VM runs, it is whole and in its previous phase, and whoever has it has the disks.

use migration::engine::{MigrationError, Sent};
use migration::wire::Phase;
use vcpu_state::sync::atomic::Ordering;

use crate::bed::{Ended, Setup};
use crate::world::{DESTINATION, NOBODY, SOURCE};

/// How it ended for the source; where that leaves open what became of the VM at the destination, that, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    Completed,
    Restored,
    InDoubt(There),
    Stranded(There),
}

/// What became of the VM at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum There {
    /// It is there, whole.
    Whole,
    /// It was started, and ended for want of memory.
    Interrupted,
    /// It was never started.
    Never,
}

impl Ended {
    pub fn check(&self, setup: &Setup) -> How {
        let there = self.check_there(setup);
        let is_running = u32::from(setup.phase == Phase::Running);
        let disks = self.world.disks.load(Ordering::Acquire);
        match &self.sent {
            Sent::Completed(report) => {
                assert!(there == There::Whole && self.source.is_ended);
                assert!(report.downtime.total() <= report.total);
                How::Completed
            }
            Sent::Restored(_) => {
                assert!(there == There::Never && !self.source.is_ended && !self.source.is_logging);
                assert_eq!((self.world.running(), disks), (is_running, SOURCE));
                assert!(self.source.throttles.last().is_none_or(|last| *last == 0));
                How::Restored
            }
            Sent::InDoubt { .. } => {
                assert!(!self.source.is_ended);
                if there == There::Never {
                    assert_eq!((self.world.running(), disks), (0, NOBODY));
                }
                How::InDoubt(there)
            }
            Sent::Stranded { .. } => {
                assert!(!self.source.is_ended && there != There::Never);
                How::Stranded(there)
            }
        }
    }

    fn check_there(&self, setup: &Setup) -> There {
        let (world, destination) = (&self.world, &self.destination);
        assert!(world.most() <= 1, "two VMs ran");
        let there = match &self.received {
            Ok(()) => There::Whole,
            Err(MigrationError::Interrupted { .. }) => There::Interrupted,
            Err(_) => There::Never,
        };
        let is_started = there != There::Never;
        assert_eq!(destination.started, is_started.then_some(setup.phase), "{:?}", self.received);
        assert_eq!(destination.is_discarded, !is_started);
        if is_started {
            assert_eq!(world.disks.load(Ordering::Acquire), DESTINATION);
            let writes = self.source.guest.writes.load(Ordering::Acquire);
            assert_eq!(destination.restored, Some(writes));
            assert_eq!(destination.adopted.is_some(), setup.local);
        }
        // Its user may have ended it.
        if there == There::Whole && setup.ends_after.is_none() {
            assert_eq!(world.running(), u32::from(setup.phase == Phase::Running));
            let lazy = destination.lazy.as_ref();
            assert!(lazy.is_none_or(|lazy| lazy.is_complete.load(Ordering::Acquire)));
            if !setup.local {
                let words = destination.memory.words();
                assert!(words == self.source.guest.words(), "memory differs");
            }
        } else if is_started {
            assert_eq!(world.running(), 0);
        }
        there
    }
}

//! The still point of a whole VM: its vCPUs and its devices' workers.
//!
//! ```text
//!   running ──vCPUs stop──▶ ──workers drain and park──▶ Still ──workers go──▶ ──vCPUs go──▶ running
//! ```
//!
//! vCPUs first: what they asked of the devices before they stopped is in the rings, and the workers finish what
//! they have begun. On the way back the workers look at every queue before a vCPU can add to it.
//!
//! Invariant: while a [`Still`] lives, nothing changes the guest's memory or the devices' state on the guest's behalf. What a vCPU
//! has asked of the activator before it stopped (an activation, a reset) is a part of that: a device's code that has begun may
//! come to its end, but what it came to is published only when nobody holds the workers, because the activator is one of them
//! whenever it publishes. Until then the device's word says that it is owed.

use std::time::{Duration, Instant};

use vcpu_state::sync::Arc;
use vcpu_state::{Deadline, Group, PauseError, PauseParts, Quiesced, Resumed};

/// A VM did not come to a still point; it goes on as before.
#[derive(Debug, thiserror::Error)]
pub enum StillError {
    /// Because of its vCPUs.
    #[error("vCPUs: {0}")]
    Vcpus(PauseError),
    /// Because of its devices' workers.
    #[error("device workers ({}): {error}", .names.join(", "))]
    Workers {
        /// What happened.
        error: PauseError,
        /// Those that did not stop, as their devices call them.
        names: Vec<String>,
    },
}

impl StillError {
    /// Whether whoever asked gave it up, and not because of a deadline.
    pub(crate) fn is_given_up(&self) -> bool {
        let (Self::Vcpus(error) | Self::Workers { error, .. }) = self;
        matches!(error, PauseError::GivenUp(_))
    }
}

/// The workers of a VM's devices.
#[derive(Clone)]
pub(super) struct Workers {
    /// Their words.
    pub(super) group: Arc<Group>,
    /// What a member is called.
    pub(super) name_of: Arc<dyn Fn(usize) -> String + Send + Sync>,
}

impl Workers {
    fn did_not_stop(&self, error: PauseError) -> StillError {
        let stuck = match &error {
            PauseError::Stuck(stuck) | PauseError::GivenUp(stuck) => {
                stuck.members.iter().map(|it| it.member).collect()
            }
            PauseError::TooManyHolders(refused) => vec![refused.member],
        };
        let names = stuck.into_iter().map(|member| (self.name_of)(member)).collect();
        StillError::Workers { error, names }
    }
}

/// The way to a VM's still point, also for those who do not have the VM: each is one more holder.
#[derive(Clone)]
pub struct Stillness {
    pub(super) vcpus: Arc<Group>,
    pub(super) workers: Workers,
}

impl Stillness {
    /// Stops the vCPUs, then the workers, until one deadline.
    ///
    /// # Errors
    /// What did not stop; all run again that nobody else holds.
    pub fn reach(&self, deadline: Deadline) -> Result<Still, StillError> {
        self.reach_by(deadline, Group::pause)
    }

    /// The same, or until `given_up`, which is looked at again whenever somebody [reminds](Self::remind). Dearer: each that stops wakes
    /// the caller.
    ///
    /// # Errors
    /// What did not stop until then; all run again that nobody else holds.
    pub(super) fn reach_unless(
        &self,
        deadline: Deadline,
        given_up: &dyn Fn() -> bool,
    ) -> Result<Still, StillError> {
        self.reach_by(deadline, |group, left| group.pause_unless(left, given_up))
    }

    /// Whoever is on the way there looks whether it is given up.
    pub(crate) fn remind(&self) {
        self.vcpus.remind();
        self.workers.group.remind();
    }

    fn reach_by(
        &self,
        deadline: Deadline,
        pause: impl Fn(&Arc<Group>, Deadline) -> Result<Quiesced, PauseError>,
    ) -> Result<Still, StillError> {
        let begun = Instant::now();
        let vcpus = pause(&self.vcpus, deadline).map_err(StillError::Vcpus)?;
        let left = match deadline {
            Deadline::Never => Deadline::Never,
            Deadline::After(limit) => Deadline::After(limit.saturating_sub(begun.elapsed())),
        };
        let workers = &self.workers;
        let workers = pause(&workers.group, left).map_err(|error| workers.did_not_stop(error))?;
        Ok(Still { vcpus, workers, latency: begun.elapsed() })
    }
}

/// Proof that a VM stands still.
#[must_use = "dropping it lets go"]
pub struct Still {
    /// Before the vCPUs: a drop lets go in this order, as [`Still::release`] does.
    workers: Quiesced,
    vcpus: Quiesced,
    latency: Duration,
}

impl Still {
    /// From the request to the still point.
    pub(super) fn latency(&self) -> Duration {
        self.latency
    }

    /// Where the time of the vCPUs went.
    pub(super) fn parts(&self) -> PauseParts {
        self.vcpus.parts()
    }

    /// Lets the workers go, then the vCPUs, whose threads wake when the answer is dropped.
    pub fn release(self) -> Resumed {
        drop(self.workers);
        self.vcpus.release()
    }
}

#[cfg(test)]
mod tests {
    use vcpu_state::{Kick, Parked, Word};

    use super::*;

    struct NoKick;

    impl Kick for NoKick {
        fn kick(&self, _: usize) {}
    }

    #[test]
    fn a_worker_that_does_not_stop_is_named_and_the_vcpus_go_on() {
        let [vcpus, group] = [1, 2].map(|members| Group::new(members, Box::new(NoKick)));
        let mut worker = group.member(1).unwrap();
        assert_eq!(worker.start(), Ok(Parked::Resumed));
        let name_of = Arc::new(|member| format!("disk{member}-q0"));
        let workers = Workers { group: Arc::clone(&group), name_of };
        let stillness = Stillness { vcpus: Arc::clone(&vcpus), workers };
        let passed = Deadline::After(Duration::ZERO);
        let Err(error) = stillness.reach(passed) else { panic!("it runs") };
        assert!(
            error.to_string().starts_with("device workers (disk1-q0): 1 not reached"),
            "{error}"
        );
        assert!(vcpus.words().chain(group.words()).all(|word| word.holders() == 0));
        drop(worker);
        let still = stillness.reach(passed).unwrap();
        assert!(vcpus.words().chain(group.words()).all(Word::is_quiescent));
        drop(still.release());
    }

    #[test]
    fn who_gives_up_while_a_worker_does_not_stop_is_told_its_name_and_all_go_on() {
        let [vcpus, group] = [1, 2].map(|members| Group::new(members, Box::new(NoKick)));
        let mut worker = group.member(0).unwrap();
        assert_eq!(worker.start(), Ok(Parked::Resumed));
        let workers =
            Workers { group: Arc::clone(&group), name_of: Arc::new(|_| "disk".to_owned()) };
        let stillness = Stillness { vcpus: Arc::clone(&vcpus), workers };
        let looked = std::cell::Cell::new(false);
        let given_up = || {
            // The first look brings the second.
            stillness.remind();
            looked.replace(true)
        };
        let Err(error) = stillness.reach_unless(Deadline::Never, &given_up) else {
            panic!("it runs")
        };
        assert!(error.is_given_up());
        assert!(error.to_string().starts_with("device workers (disk): given up: 1 not"), "{error}");
        assert!(vcpus.words().chain(group.words()).all(|word| word.holders() == 0));
    }
}

//! A model VM: a production group of model vCPUs, and what a control thread does to it.

use std::sync::Arc;

use vcpu_state::{Deadline, Group, Kick, OneShot, Quiesced, Ticket, Word};

use crate::checker::{join, thread};
use crate::kvm::{Handler as Signal, Kvm};
use crate::vcpu::{Activity, Handled, Handler, Report, Vcpu};

/// Kicks by signal.
struct Signals(Arc<Kvm>);

impl Kick for Signals {
    fn kick(&self, member: usize) {
        self.0.send_signal(member);
    }
}

/// The VM, as a control thread holds it. Clones are handles on the same one.
#[derive(Clone)]
pub struct Bed {
    /// The words.
    pub group: Arc<Group>,
    /// The kernel.
    pub kvm: Arc<Kvm>,
    activities: Arc<[Arc<Activity>]>,
}

/// A guest's behaviour, and what its vCPU thread tells the model about.
#[derive(Default)]
pub struct Script {
    exits: Vec<Handler>,
    until: Option<OneShot>,
}

impl Script {
    /// A guest that halts at once.
    pub fn halt() -> Self {
        Self::default()
    }

    /// …but first exits to this handler.
    ///
    /// A handler runs on the vCPU's thread, where production may not block; one that does stands for
    /// a host that does not schedule the thread.
    #[must_use]
    pub fn exit(mut self, handler: impl FnOnce() -> Handled + Send + 'static) -> Self {
        self.exits.push(Box::new(handler));
        self
    }

    /// …but first writes a register that leaves this ticket.
    #[must_use]
    pub fn wait(self, ticket: Ticket) -> Self {
        self.exit(move || Handled::Wait(ticket))
    }

    /// …and then exits for good: its thread ends by itself.
    #[must_use]
    pub fn end(self) -> Self {
        self.exit(|| Handled::Fail)
    }

    /// The thread ends when it has taken this one-shot: if that is lost, it never does.
    #[must_use]
    pub fn until(mut self, one_shot: OneShot) -> Self {
        self.until = Some(one_shot);
        self
    }
}

impl Bed {
    /// A VM with so many slots and no thread yet.
    pub fn new(vcpus: usize) -> Self {
        Self::with_handler(vcpus, Signal::StoreImmediateExit)
    }

    /// The same, with this handler of the kick's signal.
    pub fn with_handler(vcpus: usize, handler: Signal) -> Self {
        let kvm = Arc::new(Kvm::new(vcpus, handler));
        let group = Group::new(vcpus, Box::new(Signals(Arc::clone(&kvm))));
        let activities = (0..vcpus).map(|_| Arc::new(Activity::new())).collect();
        Self { group, kvm, activities }
    }

    /// The vCPU of a free slot, ready to [`Vcpu::run`].
    ///
    /// # Panics
    /// The group has no such slot, or it has an owner.
    pub fn vcpu(&self, index: usize, script: Script) -> Vcpu {
        let Some(member) = self.group.member(index) else { panic!("slot {index} is not free") };
        Vcpu {
            member,
            kvm: Arc::clone(&self.kvm),
            activity: Arc::clone(&self.activities[index]),
            script: script.exits.into_iter(),
            until: script.until,
        }
    }

    /// Starts a vCPU's thread.
    pub fn spawn(&self, index: usize, script: Script) -> thread::JoinHandle<Report> {
        let vcpu = self.vcpu(index, script);
        thread::spawn(move || vcpu.run())
    }

    /// Starts every vCPU with a guest that halts.
    pub fn spawn_halted(&self) -> Vec<thread::JoinHandle<Report>> {
        (0..self.group.len()).map(|index| self.spawn(index, Script::halt())).collect()
    }

    /// Pauses the group and checks that it stands still.
    ///
    /// # Panics
    /// It does not.
    pub fn pause(&self) -> Quiesced {
        match self.group.pause(Deadline::Never) {
            Ok(quiesced) => {
                self.assert_still();
                quiesced
            }
            Err(error) => panic!("a pause without a deadline failed: {error}"),
        }
    }

    /// Checks that every vCPU stands still, with nothing left to complete. The caller holds it.
    ///
    /// # Panics
    /// One does not.
    pub fn assert_still(&self) {
        for (index, activity) in self.activities.iter().enumerate() {
            assert!(activity.is_still(), "vCPU {index} acts while the group is paused");
            let word = self.group.word(index);
            let quiet = word.is_some_and(Word::is_quiescent);
            assert!(quiet, "vCPU {index} is not quiescent while the group is paused: {word:?}");
            if word.is_some_and(|word| word.any(Word::PAUSED)) {
                assert!(!self.kvm.is_incomplete(index), "vCPU {index} is paused in half an exit");
            }
        }
    }

    /// Kills every vCPU and joins their threads: the end of a model.
    ///
    /// # Panics
    /// One of them panicked.
    pub fn end(&self, threads: Vec<thread::JoinHandle<Report>>) -> Vec<Report> {
        self.group.kill_all();
        threads.into_iter().map(join).collect()
    }
}

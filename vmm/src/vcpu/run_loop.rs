//! The loop of one vCPU thread. See the module documentation of [`super`] for its states.

use devices::bus::{Bus, Mmio, Pio};
use kvm_bindings::{KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_UNINITIALIZED};
use kvm_ioctls::VcpuFd;
use vcpu_state::sync::Arc;
use vcpu_state::{Member, OneShot, Parked, Step, Ticket, Waited, Word};

use super::counters::ExitKind;
use super::exits::{self, GuestEnd, Handled, Ports};
use super::failure::{self, VcpuFailure};
use super::handle::VcpuHandle;
use super::run_page::RunPage;
use crate::sched;
use crate::vm::Machine;

/// Tickets that there is room for without asking the heap.
const TICKETS: usize = 16;

/// How a vCPU thread ended.
#[derive(Debug)]
pub enum End {
    /// It was killed.
    Killed,
    /// The guest ended by an exit of this vCPU.
    Guest(GuestEnd),
    /// The exit was none that the VMM can handle.
    Failed(Box<VcpuFailure>),
    /// The thread panicked; the message is the panic's.
    Panicked(String),
}

/// One vCPU, owned by its thread.
pub(super) struct RunLoop {
    pub(super) member: Member,
    pub(super) run: RunPage,
    pub(super) fd: VcpuFd,
    pub(super) bus: VcpuBus,
    pub(super) completion_owed: bool,
    pub(super) handle: Arc<VcpuHandle>,
}

/// The machine as this vCPU's exits reach it.
pub(super) struct VcpuBus {
    pub(super) machine: Arc<Machine>,
    /// What register writes have left to wait for before the guest may be entered again.
    pub(super) tickets: Vec<Ticket>,
}

impl RunLoop {
    pub(super) fn run(&mut self) -> End {
        if sched::as_batch(|| self.member.start()) != Ok(Parked::Resumed) {
            return End::Killed;
        }
        if let Err(error) = self.handle.tell_identity(&self.fd) {
            let index = self.member.index();
            return End::Failed(Box::new(VcpuFailure::before_entry(index, &error)));
        }
        // One that was restored, or stood still until it had this thread, has been paused, too.
        self.tell_clock();
        while let Some(ticket) = self.handle.take_owed() {
            self.bus.tickets.push(ticket);
        }
        if !self.bus.tickets.is_empty() {
            // The wait that the vCPU's last thread owed, or the one of which it has the state. Cannot fail: this one has not
            // entered yet.
            let _ = self.member.begin_ticket();
        }
        loop {
            let step = match self.member.next() {
                Step::Enter => self.enter(),
                Step::Pause { epoch } => self.pause(epoch),
                Step::Ticket => self.wait(),
                Step::OneShot(one_shot) => self.inject(one_shot),
                // Dead is as quiescent as paused, and the vCPU may get another thread.
                Step::Kill => return self.complete().err().unwrap_or(End::Killed),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    fn enter(&mut self) -> Result<(), End> {
        // Before the word is read again: a kick from here on sets it for the coming ioctl.
        self.run.set_immediate_exit(false);
        if self.member.enter().is_err() {
            return Ok(());
        }
        let result = self.fd.run();
        let handled = dispatch(result, &self.run, &mut self.bus, self.member.index());
        self.member.leave();
        self.finish(handled)
    }

    /// One KVM_RUN that only completes the exit before it. What it completes may be the first part of
    /// an instruction with several accesses, so it goes on until the kernel says EINTR.
    fn complete(&mut self) -> Result<(), End> {
        while self.completion_owed {
            self.run.set_immediate_exit(true);
            self.completion_owed = false;
            let result = self.fd.run();
            let handled = dispatch(result, &self.run, &mut self.bus, self.member.index());
            self.finish(handled)?;
        }
        Ok(())
    }

    fn finish(&mut self, handled: Result<Handled, kvm_ioctls::Error>) -> Result<(), End> {
        match handled {
            Ok(Handled::CompletionOwed) => {
                self.completion_owed = true;
                if !self.bus.tickets.is_empty() && !self.member.word().any(Word::ACTIVATION_PENDING)
                {
                    // Cannot fail: between two entries, and none is owed.
                    let _ = self.member.begin_ticket();
                }
            }
            Ok(Handled::Done) => self.completion_owed = false,
            Ok(Handled::GuestEnded(end)) => return Err(End::Guest(end)),
            Ok(Handled::Failed) => return Err(self.failed(None)),
            Err(errno) => match errno.errno() {
                // EINTR: a kick. EAGAIN: an AP that waited for its SIPI got it
                // (kvm_arch_vcpu_ioctl_run). Both completed the exit before.
                libc::EINTR | libc::EAGAIN => self.completion_owed = false,
                _ => return Err(self.failed(Some(errno))),
            },
        }
        Ok(())
    }

    fn failed(&self, errno: Option<kvm_ioctls::Error>) -> End {
        let index = self.member.index();
        let memory = self.bus.machine.ram.memory();
        End::Failed(Box::new(failure::describe(index, &self.fd, &self.run, errno, memory)))
    }

    fn pause(&mut self, epoch: u32) -> Result<(), End> {
        self.complete()?;
        // Batch only once it has answered: the change of class may cost the thread its processor.
        let parked = self.member.park_within(epoch, |stay| sched::as_batch(stay));
        if parked == Parked::Resumed {
            self.tell_clock();
        }
        Ok(())
    }

    /// Tells the guest's watchdogs that time stood still (KVM_KVMCLOCK_CTRL). On the vCPU's own thread, when it is on its way back: no
    /// resume waits for it, and no vCPU for another's. Fails where the guest uses no kvmclock; then there is nobody to tell.
    fn tell_clock(&self) {
        let _ = self.fd.kvmclock_ctrl();
    }

    fn wait(&mut self) -> Result<(), End> {
        let Some(ticket) = self.bus.tickets.last().cloned() else {
            debug_assert!(false, "ACTIVATION_PENDING without a ticket");
            return Err(End::Killed);
        };
        if let Waited::Done(_) = self.member.wait_ticket(&ticket) {
            self.bus.tickets.pop();
            if !self.bus.tickets.is_empty() {
                // Cannot fail: between two entries, and the last wait is over.
                let _ = self.member.begin_ticket();
            }
        }
        Ok(())
    }

    fn inject(&mut self, one_shot: OneShot) -> Result<(), End> {
        if self.member.take(one_shot) && one_shot == OneShot::Nmi && !self.waits_to_be_started()? {
            self.fd.nmi().map_err(|errno| self.failed(Some(errno)))?;
        }
        Ok(())
    }

    /// Whether it waits for its INIT or SIPI. A processor takes no NMI then (Intel SDM volume 3, 26.2, on the wait-for-SIPI state); KVM
    /// would keep it pending, and KVM_RUN return at once, over and over, until the guest starts the vCPU.
    fn waits_to_be_started(&self) -> Result<bool, End> {
        let state = self.fd.get_mp_state().map_err(|errno| self.failed(Some(errno)))?;
        Ok([KVM_MP_STATE_UNINITIALIZED, KVM_MP_STATE_INIT_RECEIVED].contains(&state.mp_state))
    }
}

fn dispatch(
    result: Result<kvm_ioctls::VcpuExit<'_>, kvm_ioctls::Error>,
    run: &RunPage,
    bus: &mut VcpuBus,
    index: usize,
) -> Result<Handled, kvm_ioctls::Error> {
    let (kind, handled) = match result {
        // Its word is killed. What KVM made of an operand or an instruction that has not come must reach nobody.
        _ if bus.machine.ram.is_given_up() => {
            (ExitKind::Interrupted, Err(kvm_ioctls::Error::new(libc::EINTR)))
        }
        Ok(exit) => {
            let (kind, handled) = exits::handle(exit, run.port_access_size(), bus);
            (kind, Ok(handled))
        }
        Err(errno) => (ExitKind::Interrupted, Err(errno)),
    };
    bus.machine.exits.count(index, kind);
    handled
}

impl VcpuBus {
    /// The machine, and nothing to wait for.
    pub(super) fn new(machine: Arc<Machine>) -> Self {
        // One exit leaves one ticket, seldom two. An exit is no place to ask the heap for more.
        Self { machine, tickets: Vec::with_capacity(TICKETS) }
    }

    fn pio(&self) -> &Bus<Pio> {
        &self.machine.pio
    }

    fn mmio(&self) -> &Bus<Mmio> {
        &self.machine.mmio
    }

    /// A guest that asked for power-off or reset has nothing left to do: it waits for the manager,
    /// in its own word, instead of running on.
    fn note_power(&mut self) {
        if self.tickets.is_empty() {
            self.tickets.extend(self.machine.power.ticket());
        }
    }
}

impl Ports for VcpuBus {
    fn read_port(&self, port: u16, data: &mut [u8]) {
        self.pio().read(u64::from(port), data);
    }

    fn write_port(&mut self, port: u16, data: &[u8]) {
        let Self { machine, tickets } = self;
        machine.pio.write(u64::from(port), data, |ticket| tickets.push(ticket));
        self.note_power();
    }

    fn read_memory(&self, address: u64, data: &mut [u8]) {
        self.mmio().read(address, data);
    }

    fn write_memory(&mut self, address: u64, data: &[u8]) {
        let Self { machine, tickets } = self;
        machine.mmio.write(address, data, |ticket| tickets.push(ticket));
        self.note_power();
    }
}

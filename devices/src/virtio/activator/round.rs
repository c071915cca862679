//! What the activator does for one device: a round looks at the word once, and does what it owes.
//!
//! | in a turn | between two turns | in a turn |
//! |---|---|---|
//! | check what the driver negotiated | `VirtioDevice::activate` | seat the workers, publish, end the ticket |
//! | kill the workers | join them, `VirtioDevice::reset` | clear the registers, publish, end the ticket |
//!
//! What a device's code does between two turns may go on while the VM is held. It decides nothing: the word says Activating or
//! Resetting until the turn after it, and whoever starts from that word does it again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use vcpu_state::{Attendant, Outcome};

use super::seats::{NoSeat, Running, Seats};
use super::turn::{Desk, Stopped, Turn};
use crate::virtio::device::{Activation, ActivationError, Features};
use crate::virtio::lifecycle::{Cause, Event, Negotiation, State};
use crate::virtio::queue::{QueueParts, Virtqueue};
use crate::virtio::queue_registers::{QueueFault, QueueRegisters};
use crate::virtio::queue_state::QueueState;
use crate::virtio::registers::Registers;
use crate::virtio::run_loop::{Seated, message};
use crate::virtio::worker::Worker;

/// A device, as the activator serves it.
pub(super) struct Served {
    registers: Arc<Registers>,
    attendant: Attendant,
    workers: Vec<Running>,
}

/// Why there are no workers.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the features were changed after they had been agreed on")]
    Features,
    #[error("queue {queue}: {fault}")]
    Queue { queue: u16, fault: QueueFault },
    #[error(transparent)]
    Device(#[from] ActivationError),
    #[error(transparent)]
    Seat(#[from] NoSeat),
    #[error("the device's code panicked: {0}")]
    Panic(String),
}

impl Failure {
    const fn cause(&self) -> Cause {
        match self {
            Self::Features => Cause::Features,
            Self::Queue { .. } => Cause::Queue,
            Self::Device(_) | Self::Seat(_) => Cause::Activation,
            Self::Panic(_) => Cause::Panic,
        }
    }
}

impl Served {
    pub(super) fn new(registers: Arc<Registers>, attendant: Attendant) -> Self {
        Self { registers, attendant, workers: Vec::new() }
    }

    /// Does what was asked for, if something was. It begins and ends in a turn; stopped before its end, it fails.
    pub(super) fn round(&mut self, seats: &mut Seats, desk: &Desk) -> Result<bool, Stopped> {
        let Some(round) = self.attendant.begin() else { return Ok(false) };
        let turn = desk.take()?;
        // One look: what is asked for while this goes on is another round's.
        let word = self.registers.word();
        let (outcome, _turn) = match word.state() {
            State::Activating => self.activate(word.generation(), seats, (desk, turn))?,
            State::Resetting => (Outcome::Done, self.reset(seats, (desk, turn))?),
            State::Inactive | State::Active | State::Failed => (Outcome::Done, turn),
        };
        round.complete(outcome);
        Ok(true)
    }

    /// Whether it need not be served any longer.
    pub(super) fn is_gone(&self) -> bool {
        self.workers.is_empty() && self.registers.is_gone()
    }

    /// Ends every worker that there is.
    pub(super) fn end_workers(&mut self, seats: &mut Seats) {
        seats.kill(&self.workers);
        seats.join(&mut self.workers);
    }

    fn activate<'d>(
        &mut self,
        generation: u32,
        seats: &mut Seats,
        (desk, turn): (&'d Desk, Turn<'d>),
    ) -> Result<(Outcome, Turn<'d>), Stopped> {
        let activation = self.activation();
        drop(turn);
        let device = Arc::clone(self.registers.device());
        let made = activation.and_then(|activation| guarded(|| Ok(device.activate(activation)?)));
        let turn = desk.take()?;
        let failure = match made.and_then(|made| self.seat_all(made, generation, seats)) {
            Ok(()) => {
                // Overtaken by a reset, it changes nothing; the next round ends the workers.
                if let Ok(change) = self.registers.apply(Event::Activated { generation }) {
                    self.registers.activated(change);
                }
                self.registers.counts().activations.one();
                return Ok((Outcome::Done, turn));
            }
            Err(failure) => failure,
        };
        let turn = self.end_between(seats, (desk, turn), || {})?;
        self.registers.forget_restore();
        self.registers.queues().iter().for_each(QueueRegisters::orphan);
        let name = device.name();
        tracing::warn!(device = name, %failure, "an activation failed, the device needs a reset");
        self.registers.fail(Event::ActivationFailed { generation, cause: failure.cause() });
        Ok((Outcome::Failed, turn))
    }

    fn seat_all(
        &mut self,
        made: Vec<Box<dyn Worker>>,
        generation: u32,
        seats: &mut Seats,
    ) -> Result<(), Failure> {
        for worker in made {
            let running = self.seat(worker, generation, seats)?;
            self.workers.push(running);
        }
        Ok(())
    }

    /// Ends every worker, and does what comes after that and takes time, too: all but the kill between two turns.
    fn end_between<'d>(
        &mut self,
        seats: &mut Seats,
        (desk, turn): (&'d Desk, Turn<'d>),
        then: impl FnOnce(),
    ) -> Result<Turn<'d>, Stopped> {
        seats.kill(&self.workers);
        drop(turn);
        seats.join(&mut self.workers);
        then();
        desk.take()
    }

    /// What the registers say, checked.
    fn activation(&self) -> Result<Activation, Failure> {
        let registers = &self.registers;
        // Once more: a vCPU may have changed them while another one wrote the status.
        if registers.negotiation() == Negotiation::Unacceptable {
            return Err(Failure::Features);
        }
        let features = registers.accepted();
        let mut queues = Vec::new();
        for (index, queue) in (0..).zip(registers.queues()) {
            let memory = registers.memory().clone();
            // Without a ring only after a restore: its driver may bring another one.
            let (make, ring): (fn(QueueParts) -> Virtqueue, _) = match queue.state() {
                QueueState::Disabled => continue,
                QueueState::Empty => (Virtqueue::detached, queue.no_ring()),
                _ => (Virtqueue::new, queue.ring(&memory, features.has(Features::EVENT_IDX))),
            };
            queues.push(make(QueueParts {
                index,
                queue: ring.map_err(|fault| Failure::Queue { queue: index, fault })?,
                memory,
                interrupt: Arc::clone(registers.interrupt()),
                doorbell: Arc::clone(queue.doorbell()),
            }));
        }
        let memory = registers.memory().clone();
        let (interrupt, origin) = (Arc::clone(registers.interrupt()), registers.origin());
        Ok(Activation { memory, features, queues, interrupt, origin })
    }

    fn seat(
        &self,
        mut worker: Box<dyn Worker>,
        generation: u32,
        seats: &mut Seats,
    ) -> Result<Running, Failure> {
        let registers = Arc::clone(&self.registers);
        guarded(move || {
            for queue in worker.queues() {
                let taken = registers.queues().get(usize::from(queue.index()));
                // One without a ring is taken when its driver has brought one.
                if queue.is_attached() && !taken.is_some_and(QueueRegisters::take) {
                    // Its driver has reset it since it was looked at.
                    queue.detach();
                }
            }
            let name = thread_name(registers.device().name(), &worker.label());
            let run = move |member, kick| {
                Seated { member, kick, worker, registers, generation }.run();
            };
            Ok(seats.seat(&name, run)?)
        })
    }

    fn reset<'d>(
        &mut self,
        seats: &mut Seats,
        turn: (&'d Desk, Turn<'d>),
    ) -> Result<Turn<'d>, Stopped> {
        let device = Arc::clone(self.registers.device());
        let turn = self.end_between(seats, turn, || {
            let reset = guarded(|| {
                device.reset();
                Ok(())
            });
            if let Err(panic) = reset {
                // The workers are gone, which is what a reset has to tell the driver; what the device makes of its next
                // activation is that one's outcome.
                tracing::warn!(device = device.name(), %panic, "a device's reset failed");
            }
        })?;
        self.registers.clear();
        Ok(turn)
    }
}

/// Calls the device's code; its panic is an error like others.
fn guarded<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(Failure::Panic(message(&*panic))))
}

/// `disk0-q0`, without what a thread's name cannot have. The kernel shows its first 15 bytes.
fn thread_name(device: &str, worker: &str) -> String {
    format!("{device}-{worker}").replace('\0', "")
}

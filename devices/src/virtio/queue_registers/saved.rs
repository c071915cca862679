//! The registers of a queue as they are saved.

use serde::{Deserialize, Serialize};

use super::{Area, QueueFault, QueueRegisters};
use crate::memory::GuestMemory;
use crate::saved::Unfit;
use crate::sync::atomic::Ordering;
use crate::virtio::lifecycle::State;
use crate::virtio::queue_state::{QueueEvent, QueueState};

/// The registers of one queue, and where the device stands in its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedQueue {
    /// The greatest size that the device offers.
    pub max: u16,
    /// Descriptors of the ring.
    pub size: u16,
    /// Who has it.
    pub state: QueueState,
    /// GPA of the descriptor table.
    pub descriptors: u64,
    /// GPA of the available ring.
    pub driver: u64,
    /// GPA of the used ring.
    pub device: u64,
    /// The next available index that the device looks at.
    pub available: u16,
    /// The next used index that it writes.
    pub used: u16,
}

impl SavedQueue {
    fn addresses(&self) -> [u64; 3] {
        [self.descriptors, self.driver, self.device]
    }
}

/// What is wrong, for who knows which queue it is.
pub(in crate::virtio) enum CheckError {
    Queue(QueueFault),
    Unfit(Unfit),
}

impl From<Unfit> for CheckError {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

impl CheckError {
    pub(in crate::virtio) fn of_queue(self, queue: u16) -> Unfit {
        match self {
            Self::Queue(fault) => Unfit::Queue { queue, fault },
            Self::Unfit(unfit) => unfit,
        }
    }
}

impl QueueRegisters {
    /// What they are. Its worker, if it has one, stands still.
    pub(in crate::virtio) fn save(&self) -> SavedQueue {
        let [descriptors, driver, device] = Area::ALL.map(|area| self.address(area));
        let (available, used) = self.position();
        SavedQueue {
            max: self.max,
            size: self.size(),
            state: self.state(),
            descriptors,
            driver,
            device,
            available,
            used,
        }
    }

    /// Whether they could be these, of a device in this state.
    pub(in crate::virtio) fn check(
        &self,
        saved: &SavedQueue,
        memory: &GuestMemory,
        device: State,
    ) -> Result<(), CheckError> {
        Unfit::unless_same("the size of the longest ring", &saved.max, &self.max)?;
        let has_worker = saved.state.has_worker();
        match device {
            State::Inactive | State::Activating if has_worker => {
                return Err(Unfit::impossible("a queue without a worker", saved.state).into());
            }
            State::Active if has_worker => {}
            // Whatever the driver wrote, a reset or the next activation will look at it.
            _ => return Ok(()),
        }
        if matches!(saved.state, QueueState::Taken | QueueState::Leaving) {
            self.checked(memory, saved.size, saved.addresses()).map_err(CheckError::Queue)?;
        }
        if saved.available != saved.used {
            // A worker that stands still has given back whatever it has taken.
            let position = (saved.available, saved.used);
            return Err(Unfit::impossible("next available and next used index", position).into());
        }
        Ok(())
    }

    /// Makes them these, which were checked.
    pub(in crate::virtio) fn restore(&self, saved: &SavedQueue, device: State) {
        self.size.store(saved.size, Ordering::Relaxed);
        for (area, address) in Area::ALL.into_iter().zip(saved.addresses()) {
            let halves = address.to_le_bytes();
            for (register, half) in self.areas[area.place()].iter().zip(halves.as_chunks().0) {
                register.store(u32::from_le_bytes(*half), Ordering::Relaxed);
            }
        }
        self.set_position((saved.available, saved.used));
        // Release: pairs with the acquire in `state`.
        self.state.store(saved.state as u32, Ordering::Release);
        if device == State::Failed {
            // Such a device gets no workers: whoever waits for the reset of a queue need not.
            self.change(QueueEvent::Orphan);
        }
    }
}

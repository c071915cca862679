//! The ring that a queue's registers describe.

use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemory as _, Permissions};

use super::{Area, QueueFault, QueueRegisters};
use crate::memory::GuestMemory;

impl QueueRegisters {
    /// The ring that they describe, checked.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::virtio) fn ring(
        &self,
        memory: &GuestMemory,
        event_index: bool,
    ) -> Result<Queue, QueueFault> {
        // Each register is read once: another vCPU may be writing it.
        let size = self.size();
        let wrong_size = QueueFault::Size(size);
        let addresses = Area::ALL.map(|area| self.address(area));
        let [descriptors, driver, device] = self.checked(memory, size, addresses)?;
        let mut queue = self.no_ring()?;
        queue.set_size(size);
        queue.try_set_desc_table_address(descriptors).map_err(|_| wrong_size)?;
        queue.try_set_avail_ring_address(driver).map_err(|_| wrong_size)?;
        queue.try_set_used_ring_address(device).map_err(|_| wrong_size)?;
        queue.set_event_idx(event_index);
        let (available, used) = self.position();
        queue.set_next_avail(available);
        queue.set_next_used(used);
        queue.set_ready(true);
        Ok(queue)
    }

    /// For a worker that waits for its driver to enable the queue again.
    ///
    /// # Errors
    /// The device offers a size that no ring can have.
    pub(in crate::virtio) fn no_ring(&self) -> Result<Queue, QueueFault> {
        Queue::new(self.max).map_err(|_| QueueFault::Size(self.max))
    }

    /// Where the areas of a ring of this size are, if it can be one.
    pub(super) fn checked(
        &self,
        memory: &GuestMemory,
        size: u16,
        addresses: [u64; 3],
    ) -> Result<[GuestAddress; 3], QueueFault> {
        if !size.is_power_of_two() || size > self.max {
            return Err(QueueFault::Size(size));
        }
        for (area, address) in Area::ALL.into_iter().zip(addresses) {
            let (alignment, len) = area.shape(size);
            if (area, address) == (Area::Driver, 0) {
                return Err(QueueFault::NoAddress(area));
            }
            if !address.is_multiple_of(alignment) {
                return Err(QueueFault::Alignment { area, address });
            }
            if !memory.check_range(GuestAddress(address), len, Permissions::ReadWrite) {
                return Err(QueueFault::NotInRam { area, address });
            }
        }
        Ok(addresses.map(GuestAddress))
    }
}

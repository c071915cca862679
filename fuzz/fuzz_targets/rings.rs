//! What a driver can do to the rings of a device: requests as they should be, and memory as it should not.
use arbitrary::Arbitrary;
use devices::virtio::WorkerError;
use devices::virtio::testing::{Buffers, Driver, Runner};
use vm_memory::{Bytes, GuestAddress};

#[derive(Debug, Arbitrary)]
pub enum RingOp<'a> {
    /// A request of a good form.
    Send { readable: &'a [u8], writable: [u16; 3] },
    /// A descriptor of any form.
    Describe { gpa: Place, len: u32, flags: u16 },
    /// One that is there becomes another.
    Overwrite { index: u8, gpa: Place, len: u32, flags: u16, next: u16 },
    /// Any descriptor is made available.
    Offer(u16),
    /// Any bytes of the rings and buffers.
    Write { gpa: Place, data: &'a [u8] },
    /// The doorbell.
    Ring,
}

/// An address; those of the rings more often than chance would have it.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub enum Place {
    Any(u64),
    Descriptors(u8),
    Available(u8),
    Used(u8),
    Buffers(u16),
}

impl Place {
    fn gpa(self, driver: &Driver) -> GuestAddress {
        let (base, offset) = match self {
            Self::Any(gpa) => return GuestAddress(gpa),
            Self::Descriptors(offset) => (driver.descriptors(), offset.into()),
            Self::Available(offset) => (driver.available_ring(), offset.into()),
            Self::Used(offset) => (driver.used_ring(), offset.into()),
            Self::Buffers(offset) => (driver.buffers(), u64::from(offset)),
        };
        GuestAddress(base.0 + offset)
    }
}

/// Does it; rings if there is something to ring for.
pub fn apply(op: &RingOp<'_>, driver: &mut Driver) {
    match *op {
        RingOp::Send { readable, writable } => {
            let writable: Vec<u32> =
                writable.iter().filter(|len| **len > 0).map(|len| u32::from(*len)).collect();
            let readable = if readable.is_empty() { vec![] } else { vec![readable] };
            if !(readable.is_empty() && writable.is_empty()) {
                driver.send(&Buffers { readable, writable });
            }
        }
        RingOp::Describe { gpa, len, flags } => {
            let gpa = gpa.gpa(driver);
            driver.describe(gpa, len, flags);
        }
        RingOp::Overwrite { index, gpa, len, flags, next } => {
            driver.write_descriptor(index.into(), (gpa.gpa(driver), len, flags, next));
        }
        RingOp::Offer(head) => driver.offer(head),
        RingOp::Write { gpa, data } => {
            // Outside of RAM, nothing is written.
            let _ = driver.memory.write_slice(data, gpa.gpa(driver));
        }
        RingOp::Ring => driver.doorbell.notify(),
    }
}

/// Lets the worker work; false when the driver has broken the device. Nothing but a broken rule does that.
pub fn work(runner: &mut Runner) -> bool {
    match runner.step() {
        Ok(()) => true,
        Err(WorkerError::Malformed(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

//! A vCPU's own memory for rings and buffers: handed out from the bottom, all at once given back.

use crate::io::Address;
use crate::shared::{ARENA_SIZE, ARENAS};

/// What nobody writes but [`Arena::poison`].
const POISON: u64 = 0x5A5A_A5A5_5A5A_A5A5;

pub struct Arena {
    start: u64,
    next: u64,
    end: u64,
}

impl Arena {
    pub const fn of(vcpu: u64) -> Self {
        let start = ARENAS + ARENA_SIZE * vcpu;
        Self { start, next: start, end: start + ARENA_SIZE }
    }

    /// Zeroed memory on a page of its own.
    pub fn take(&mut self, bytes: u64) -> Address {
        let start = self.next.next_multiple_of(4096);
        assert!(start + bytes <= self.end);
        self.next = start + bytes;
        let mut at = start;
        while at < self.next {
            Address(at).write64(0);
            at += 8;
        }
        Address(start)
    }

    /// Overwrites all that was handed out, which no device may touch any more.
    pub fn poison(&self) {
        self.words().for_each(|word| word.write64(POISON));
    }

    /// Whether nobody has touched it since.
    pub fn is_poisoned(&self) -> bool {
        self.words().all(|word| word.read64() == POISON)
    }

    fn words(&self) -> impl Iterator<Item = Address> {
        (self.start..self.next).step_by(8).map(Address)
    }
}

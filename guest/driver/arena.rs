//! A vCPU's own memory for rings and buffers: handed out from the bottom, all at once given back.

use crate::io::Address;
use crate::shared::{ARENA_SIZE, ARENAS};

pub struct Arena {
    next: u64,
    end: u64,
}

impl Arena {
    pub const fn of(vcpu: u64) -> Self {
        let next = ARENAS + ARENA_SIZE * vcpu;
        Self { next, end: next + ARENA_SIZE }
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
}

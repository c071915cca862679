//! The same I/O by a plain program: one thread, one ring, nothing else.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use io_uring::{IoUring, opcode, types::Fd};

use super::block::Case;

/// Reads or writes so many times; gives how long that took.
#[expect(unsafe_code, reason = "the kernel takes addresses of buffers")]
pub fn run(file: &File, case: &Case, length: u64, requests: u64) -> Result<Duration> {
    let bytes = u32::try_from(case.bytes).context("requests are small")?;
    let places = length / case.bytes;
    // Before the ring, so that they outlive it.
    let mut buffers = vec![vec![0x5A_u8; case.bytes.try_into()?]; case.depth.try_into()?];
    let mut ring = IoUring::new(u32::try_from(case.depth)?.next_power_of_two())?;
    let mut free: Vec<usize> = (0..buffers.len()).collect();
    let mut random = Random(4711);
    let (mut begun, mut done) = (0, 0);
    let start = Instant::now();
    while done < requests {
        while begun < requests
            && let Some(slot) = free.pop()
        {
            let place = if case.is_sequential() { begun % places } else { random.next() % places };
            let (fd, buffer) = (Fd(file.as_raw_fd()), buffers[slot].as_mut_ptr());
            let offset = place * case.bytes;
            let entry = if case.is_write() {
                opcode::Write::new(fd, buffer, bytes).offset(offset).build()
            } else {
                opcode::Read::new(fd, buffer, bytes).offset(offset).build()
            };
            // SAFETY: the buffer is in the heap and does not move, is used by no other request until this one's completion
            // is seen, and outlives the ring.
            unsafe { ring.submission().push(&entry.user_data(slot as u64)) }?;
            begun += 1;
        }
        ring.submit_and_wait(1)?;
        for completion in ring.completion() {
            ensure!(completion.result() == bytes.cast_signed(), "{}", completion.result());
            free.push(completion.user_data().try_into()?);
            done += 1;
        }
    }
    Ok(start.elapsed())
}

/// The same numbers as the driver guest's (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

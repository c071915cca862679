//! Pauses and resumes at random instants, from a thread of its own, while the guest does something else.
//!
//! ```text
//! start ── (let it run ── pause ── hold ── resume)* ── end: how often
//! ```
//! Every pause and every resume must succeed. Seeds are fixed: what varies is what the guest is at.
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::vm::Vm;

/// The longest time that it runs between two pauses, and that a pause is held.
const LONGEST_RUN: u64 = 60;
const LONGEST_HOLD: u64 = 15;

/// A storm that rages. Dropping it ends it, too.
pub struct Storm {
    end: Sender<()>,
    thread: JoinHandle<Result<u32>>,
}

impl Storm {
    /// Starts it.
    pub fn start(vm: &Vm) -> Result<Self> {
        let mut api = vm.api()?;
        let (end, ended) = channel();
        let thread = std::thread::spawn(move || {
            let mut random = 0x9E37_79B9_7F4A_7C15_u64;
            let mut cycles = 0;
            // It ends between a resume and a pause only.
            while let Err(RecvTimeoutError::Timeout) =
                ended.recv_timeout(milliseconds(&mut random, LONGEST_RUN))
            {
                api.put("vm.pause").with_context(|| format!("pause, cycle {cycles}"))?;
                // Nobody sends; the end of the sender cuts the hold short and is met again above.
                let _ = ended.recv_timeout(milliseconds(&mut random, LONGEST_HOLD));
                api.put("vm.resume").with_context(|| format!("resume, cycle {cycles}"))?;
                cycles += 1;
            }
            Ok(cycles)
        });
        Ok(Self { end, thread })
    }

    /// Ends it: how many cycles there were, at least one.
    pub fn end(self) -> Result<u32> {
        drop(self.end);
        let cycles = self.thread.join().map_err(|_| anyhow!("the storm's thread panicked"))??;
        ensure!(cycles > 0, "nothing was paused");
        Ok(cycles)
    }
}

fn milliseconds(random: &mut u64, most: u64) -> Duration {
    microseconds(random, most * 1000)
}

/// Up to `most` microseconds (xorshift64; Marsaglia 2003).
pub fn microseconds(random: &mut u64, most: u64) -> Duration {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    Duration::from_micros(*random % (most + 1))
}

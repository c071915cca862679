//! The floor: what the host needs to stop plain threads, without KVM and without a protocol.
//!
//! ```text
//!   pauser: set the countdown, signal each thread once ─▶ sleep on it ─▶ go: one wake for all
//!   thread: [blocked | spinning] ─handler─▶ count down, the last wakes ─▶ sleep on the generation ─▶ …
//! ```
//!
//! A signal handler counts down and sleeps, so it does not matter where the signal finds its thread:
//! nothing can be lost, and nothing but the signal, the scheduler and two futexes is measured.

pub mod exits;
mod gate;
mod kvm;
mod signal;

use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossbeam_utils::CachePadded;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use vcpu_state::sync::FutexWord;

use crate::cell::Guest;
use crate::cycles::Subject;
pub use gate::WhileStopped;
use gate::{Gate, wait_for_zero};
pub use kvm::bare_vcpus;
use signal::ThreadId;

/// Threads that can be stopped and let go together.
pub struct Floor {
    shared: Arc<Shared>,
    count: u32,
    ids: Vec<ThreadId>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    gate: Gate,
    stop: AtomicBool,
    /// Readable once the threads have to end.
    stop_event: OwnedFd,
    /// Threads that are not there yet.
    coming: FutexWord,
    /// Rounds of each thread's loop.
    rounds: Box<[CachePadded<AtomicU64>]>,
}

/// Where the time of one stop went.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// Sending the signals.
    pub signalling: Duration,
    /// From the last signal sent to the last thread stopped; zero when it stopped before that.
    pub stopping: Duration,
    /// From the last thread stopped to the pauser running again.
    pub waking: Duration,
}

impl Floor {
    /// Starts `count` threads that are blocked in a system call or spin.
    pub fn start(count: NonZeroU32, guest: Guest, parked: WhileStopped) -> Result<Self> {
        signal::install().context("cannot install the handler of the benchmark's signal")?;
        let stop_event = eventfd(0, EventfdFlags::CLOEXEC).context("cannot make an eventfd")?;
        let mut floor = Self {
            shared: Arc::new(Shared {
                gate: Gate::new(parked),
                stop: AtomicBool::new(false),
                stop_event,
                coming: FutexWord::new(count.get()),
                rounds: (0..count.get()).map(|_| CachePadded::default()).collect(),
            }),
            count: count.get(),
            ids: Vec::new(),
            threads: Vec::new(),
        };
        let (announce, announced) = std::sync::mpsc::channel();
        for (index, _) in floor.shared.rounds.iter().enumerate() {
            let shared = Arc::clone(&floor.shared);
            let announce = announce.clone();
            let thread = Builder::new()
                .name(format!("floor{index}"))
                .stack_size(128 << 10)
                .spawn(move || {
                    // The receiver waits for all of them.
                    let _ = announce.send(signal::this_thread());
                    drop(announce);
                    shared.work(index, guest);
                })
                .with_context(|| format!("cannot start thread {index} of {count}"))?;
            floor.threads.push(thread);
        }
        drop(announce);
        floor.ids = announced.into_iter().collect();
        wait_for_zero(&floor.shared.coming);
        Ok(floor)
    }

    /// Stops every thread, and says where the time went.
    pub fn stop_all(&mut self) -> Result<(Duration, Stop)> {
        let gate = &self.shared.gate;
        let begun = Instant::now();
        gate.expect(self.count);
        for id in &self.ids {
            id.signal().context("cannot signal a thread")?;
        }
        let signalled = Instant::now();
        let last = gate.wait_for_all();
        let done = Instant::now();
        let stop = Stop {
            signalling: signalled - begun,
            stopping: last.saturating_duration_since(signalled),
            waking: done.saturating_duration_since(last.max(signalled)),
        };
        Ok((done - begun, stop))
    }

    /// Lets every thread go by one wake; returns when that has been done.
    pub fn let_go(&mut self) -> Duration {
        let begun = Instant::now();
        self.shared.gate.open();
        begun.elapsed()
    }

    /// Waits until every thread that was let go has run; gives how long that took.
    pub fn wait_awake(&self) -> Duration {
        let begun = Instant::now();
        self.shared.gate.wait_awake();
        begun.elapsed()
    }

    fn rounds(&self) -> Vec<u64> {
        // Relaxed: counters that order nothing.
        self.shared.rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed)).collect()
    }
}

impl Subject for Floor {
    fn pause(&mut self) -> Result<Duration> {
        Ok(self.stop_all()?.0)
    }

    fn resume(&mut self) -> Result<Duration> {
        Ok(self.let_go())
    }

    fn heartbeats(&mut self) -> Result<Vec<u64>> {
        Ok(self.rounds())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // Release: pairs with the acquire in `work`; the event follows it.
        self.shared.stop.store(true, Ordering::Release);
        // Cannot fail: the counter is far from its limit, and the descriptor lives.
        let _ = rustix::io::write(&self.shared.stop_event, &1_u64.to_ne_bytes());
        self.shared.gate.close();
        for thread in self.threads.drain(..) {
            // A panic has been reported by the hook.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self, index: usize, guest: Guest) {
        let _handling = signal::handle_with(&self.gate);
        if self.coming.sub(1) == 1 {
            self.coming.wake_all();
        }
        let rounds = &self.rounds[index];
        let held = (guest == Guest::Halted).then(signal::hold);
        while !self.stop.load(Ordering::Acquire) {
            rounds.fetch_add(1, Ordering::Relaxed);
            if let Some(held) = &held {
                held.wait(self.stop_event.as_fd());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace;

    fn floor(count: u32, guest: Guest, parked: WhileStopped) -> Floor {
        Floor::start(NonZeroU32::new(count).unwrap(), guest, parked).unwrap()
    }

    #[test]
    fn stopped_threads_stand_still_and_go_on_afterwards() {
        for parked in [WhileStopped::Ordinary, WhileStopped::Batch] {
            for guest in Guest::ALL {
                let mut floor = floor(5, guest, parked);
                for _ in 0..20 {
                    let before = floor.rounds();
                    floor.stop_all().unwrap();
                    let stopped = floor.rounds();
                    pace::pause_for(Duration::from_millis(1));
                    assert_eq!(floor.rounds(), stopped, "{guest:?}");
                    floor.let_go();
                    floor.wait_awake();
                    let moved = |now: &[u64]| now.iter().zip(&before).all(|(now, then)| now > then);
                    pace::until("every thread", Duration::ZERO, Duration::from_secs(30), || {
                        Ok(moved(&floor.rounds()).then_some(()))
                    })
                    .unwrap();
                }
            }
        }
    }

    #[test]
    fn a_storm_loses_nobody() {
        for guest in Guest::ALL {
            let mut floor = floor(4, guest, WhileStopped::Ordinary);
            for _ in 0..500 {
                let (total, parts) = floor.stop_all().unwrap();
                assert!(parts.signalling + parts.stopping + parts.waking <= total);
                floor.let_go();
            }
        }
    }

    #[test]
    fn threads_end_while_they_are_stopped() {
        let mut floor = floor(3, Guest::Spinning, WhileStopped::Batch);
        floor.stop_all().unwrap();
    }
}

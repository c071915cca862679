//! How long a vCPU waits for a processor that an interrupt woke, on a host whose processors are busy.
//!
//! The guest's vCPUs are halted; a timer interrupt wakes each of them a thousand times a second. Beside them spin as
//! many threads as are asked for. How long woken threads wait is the scheduler's own account. What is compared has its
//! turns one after the other, round for round: threads that sleep and wake as often, and the vCPUs of three VMs, of
//! which one was never paused, one has just been paused and resumed a hundred times, and one is SCHED_BATCH
//! for good, which is what a parked vCPU is: that is what the class would cost outside of a park.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cell::{Guest, Load};
use crate::cycles::Subject;
use crate::pace;
use crate::report::{Column, Table, digits};
use crate::scheduler::{Account, make_batch, threads};
use crate::subject::{InProcess, Special};

/// Interrupts a second.
const TICK_HZ: u32 = 1000;
/// Pauses of a VM whose vCPUs have been paused.
const PAUSES: usize = 100;

/// What is measured.
#[derive(Clone, Copy)]
pub struct Plan {
    /// vCPUs of each VM, and as many plain threads.
    pub vcpus: NonZeroU32,
    /// Threads that spin.
    pub busy: u32,
    /// Turns of each.
    pub rounds: u32,
    /// How long a turn is.
    pub window: Duration,
}

/// Who wakes.
#[derive(Clone, Copy)]
enum Sleeper {
    Plain,
    NeverPaused,
    Paused,
    Batch,
}

impl Sleeper {
    const ALL: [Self; 4] = [Self::Plain, Self::NeverPaused, Self::Paused, Self::Batch];

    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain threads",
            Self::NeverPaused => "vCPUs, never paused",
            Self::Paused => "vCPUs, paused and resumed before",
            Self::Batch => "vCPUs, SCHED_BATCH for good",
        }
    }
}

/// What threads of one kind came to in one turn, each of them.
#[derive(Clone, Copy)]
struct Turn {
    wakes_per_second: f64,
    wait_micros: f64,
}

/// Measures it; a table of medians over the rounds.
pub fn latency(plan: Plan) -> Result<Table> {
    let mut turns = Sleeper::ALL.map(|_| Vec::new());
    let busy = Threads::start("busy", plan.busy, std::hint::spin_loop)?;
    for _ in 0..plan.rounds {
        for (sleeper, turns) in Sleeper::ALL.into_iter().zip(&mut turns) {
            pace::go_on()?;
            turns.push(turn(sleeper, plan).context(sleeper.name())?);
        }
    }
    drop(busy);
    let mut table = Table::new([
        Column::text("who wakes"),
        Column::number("wakes/s").under("each thread"),
        Column::number("waits, us"),
        Column::number("ratio"),
    ]);
    let waits = turns.each_ref().map(|turns| median(turns, |turn| turn.wait_micros));
    for ((sleeper, turns), wait) in Sleeper::ALL.into_iter().zip(&turns).zip(waits) {
        let wakes = median(turns, |turn| turn.wakes_per_second);
        let cells = [format!("{wakes:.0}"), digits(wait), digits(wait / waits[0])];
        table.row(std::iter::once(sleeper.name().to_owned()).chain(cells));
    }
    Ok(table)
}

/// The median; of an even number the upper one of the two in the middle, so that it is a turn's.
fn median(turns: &[Turn], of: fn(&Turn) -> f64) -> f64 {
    let mut values: Vec<_> = turns.iter().map(of).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn turn(sleeper: Sleeper, plan: Plan) -> Result<Turn> {
    if matches!(sleeper, Sleeper::Plain) {
        let pause = || pace::pause_for(Duration::from_secs(1) / TICK_HZ);
        let _plain = Threads::start("plain", plan.vcpus.get(), pause)?;
        // Each of their turns is a wake.
        return watch("plain", plan.window, |account| Ok(account.turns));
    }
    let load = Load { vcpus: plan.vcpus, guest: Guest::Halted };
    let mut vm = InProcess::start_special(load, Special::Ticking(TICK_HZ))?;
    match sleeper {
        Sleeper::Paused => {
            for _ in 0..PAUSES {
                vm.pause()?;
                vm.resume()?;
                pace::pause_for(Duration::from_millis(1));
            }
        }
        Sleeper::Batch => {
            for thread in threads("vcpu")? {
                make_batch(thread).context("cannot make a vCPU's thread SCHED_BATCH")?;
            }
        }
        Sleeper::Plain | Sleeper::NeverPaused => {}
    }
    let ticks = |vm: &mut InProcess| vm.heartbeats().map(|beats| beats.iter().sum::<u64>());
    let before = ticks(&mut vm)?;
    let turn = watch("vcpu", plan.window, |_| Ok(ticks(&mut vm)? - before))?;
    vm.end()?;
    Ok(turn)
}

/// What threads of that name come to in a window; `wakes` says how often they woke in it.
fn watch(
    prefix: &str,
    window: Duration,
    wakes: impl FnOnce(Account) -> Result<u64>,
) -> Result<Turn> {
    let threads = threads(prefix)?;
    let (begun, before) = (Instant::now(), Account::of(&threads)?);
    pace::pause_for(window);
    let account = Account::of(&threads)?.since(before);
    let time = begun.elapsed().as_secs_f64() * float(threads.len() as u64);
    Ok(Turn {
        wakes_per_second: float(wakes(account)?) / time,
        wait_micros: account.waited.as_secs_f64() * 1e6 / float(account.turns.max(1)),
    })
}

/// Wakes of some minutes have far fewer digits than 53 bits.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn float(number: u64) -> f64 {
    number as f64
}

/// Threads that do the same again and again until they are dropped.
struct Threads {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Returns when all of them have begun.
    fn start(name: &str, count: u32, again: impl Fn() + Clone + Send + 'static) -> Result<Self> {
        let mut all = Self { stop: Arc::default(), threads: Vec::new() };
        let (begin, begun) = std::sync::mpsc::channel();
        for index in 0..count {
            let (stop, again, begin) = (Arc::clone(&all.stop), again.clone(), begin.clone());
            let work = move || {
                // The receiver waits for all of them.
                let _ = begin.send(());
                drop(begin);
                // Relaxed: says nothing about other memory.
                while !stop.load(Ordering::Relaxed) {
                    again();
                }
            };
            let thread = Builder::new().name(format!("{name}{index}")).spawn(work);
            all.threads.push(thread.with_context(|| format!("cannot start thread {index}"))?);
        }
        drop(begin);
        begun.into_iter().for_each(drop);
        Ok(all)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic has been reported by the hook.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_one_of_the_turns() {
        let turn = |wait_micros| Turn { wakes_per_second: 1.0, wait_micros };
        for (waits, median) in [(vec![3.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0], 4.0), (vec![], 0.0)] {
            let turns: Vec<_> = waits.into_iter().map(turn).collect();
            assert!((super::median(&turns, |turn| turn.wait_micros) - median).abs() < 1e-9);
        }
    }

    #[test]
    fn threads_begin_and_end_and_their_waits_are_counted() {
        let _busy = Threads::start("busy", 4, std::hint::spin_loop).unwrap();
        let plain =
            Threads::start("plain", 2, || pace::pause_for(Duration::from_millis(1))).unwrap();
        let window = Duration::from_millis(50);
        let turn = watch("plain", window, |account| Ok(account.turns)).unwrap();
        assert!(turn.wakes_per_second > 0.0 && turn.wait_micros >= 0.0);
        drop(plain);
        // The kernel lists a thread a moment longer than it can be joined.
        let gone = || Ok(threads("plain")?.is_empty().then_some(()));
        pace::until("their end", Duration::ZERO, Duration::from_mins(1), gone).unwrap();
    }
}

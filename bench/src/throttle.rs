//! How well a throttle keeps its set point: by its own clock, by the scheduler's account, and by what the guest gets done.
//!
//! The guest's vCPUs spin and count. Its share is one minus the rate of its counters under the throttle over their
//! rate without, measured right before. What the vCPUs waited for a processor, on either side, is left out of the time: that is the
//! host's doing, not the throttle's, and told beside it. The rest of what the guest lost it slept, or it went on ways into and
//! out of the guest. Each vCPU is pinned to a processor of its own, where there are as many: else the kernel wakes two on one
//! processor now and then, and one of them waits for milliseconds until it is moved (`--unpinned` shows that).

use std::time::{Duration, Instant};

use anyhow::Result;
use vcpu_state::throttle::DutyCycle;

use crate::cell::{Guest, Load};
use crate::cycles::Subject;
use crate::pace;
use crate::report::{Column, Table};
use crate::scheduler::{Account, threads};
use crate::subject::{InProcess, Special};

/// What is measured.
pub struct Plan {
    /// Spinning vCPUs.
    pub load: Load,
    /// Set points, in percent.
    pub percents: Vec<u8>,
    /// Periods.
    pub periods: Vec<Duration>,
    /// How long each is watched.
    pub window: Duration,
    /// Each vCPU has a processor of its own, where there are as many.
    pub pinned: bool,
}

/// Measures each set point with each period; a table.
pub fn throttle(plan: &Plan) -> Result<Table> {
    debug_assert!(plan.load.guest == Guest::Spinning, "only what spins shows its share");
    let special = if plan.pinned { Special::Pinned } else { Special::Nothing };
    let mut vm = InProcess::start_special(plan.load, special)?;
    let mut table = Table::new([
        Column::number("set %"),
        Column::number("period ms"),
        Column::number("cycle ms"),
        Column::number("held %").under("throttle"),
        Column::number("error"),
        Column::number("asleep %").under("scheduler"),
        Column::number("waiting %"),
        Column::number("lost %").under("guest"),
        Column::number("error"),
    ]);
    for period in &plan.periods {
        for percent in &plan.percents {
            pace::go_on()?;
            table.row(one(&mut vm, DutyCycle::new(*percent, *period)?, plan.window)?);
        }
    }
    vm.end()?;
    Ok(table)
}

fn one(vm: &mut InProcess, duty: DutyCycle, window: Duration) -> Result<Vec<String>> {
    let free = watch(vm, window)?;
    let throttle = vm.throttle(duty)?;
    // It learns the host's latencies in its first cycles.
    pace::pause_for(duty.period() * 10);
    let before = throttle.measured();
    let throttled = watch(vm, window)?;
    let after = throttle.measured();
    drop(throttle);
    let (stopped, running) = (
        after.stopped.saturating_sub(before.stopped),
        after.running.saturating_sub(before.running),
    );
    let cycles = u32::try_from(after.cycles - before.cycles).unwrap_or(u32::MAX).max(1);
    let own = 100.0 * stopped.as_secs_f64() / (stopped + running).as_secs_f64();
    let lost = 100.0 * (1.0 - throttled.rate / free.rate);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let set = f64::from(duty.percent());
    Ok(vec![
        duty.percent().to_string(),
        format!("{:.0}", ms(duty.period())),
        format!("{:.1}", ms((stopped + running) / cycles)),
        format!("{own:.2}"),
        format!("{:+.2}", own - set),
        format!("{:.2}", throttled.slept),
        format!("{:.2}", throttled.waited),
        format!("{lost:.2}"),
        format!("{:+.2}", lost - set),
    ])
}

/// What all vCPUs together came to in a while.
struct Pace {
    /// Heartbeats a second, without the time in which they waited for a processor.
    rate: f64,
    /// Percent of the time.
    slept: f64,
    waited: f64,
}

fn watch(vm: &mut InProcess, window: Duration) -> Result<Pace> {
    let vcpus = threads("vcpu")?;
    let sum = |vm: &mut InProcess| vm.heartbeats().map(|beats| beats.iter().sum::<u64>());
    let (begun, then, before) = (Instant::now(), Account::of(&vcpus)?, sum(vm)?);
    pace::pause_for(window);
    let (took, now, after) = (begun.elapsed(), Account::of(&vcpus)?, sum(vm)?);
    let account = now.since(then);
    let all = took.as_secs_f64() * f64::from(u32::try_from(vcpus.len())?);
    let (ran, waited) = (account.ran.as_secs_f64(), account.waited.as_secs_f64());
    // Heartbeats of a few seconds have far fewer digits than 53 bits.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let beats = (after - before) as f64;
    let percent = |seconds: f64| 100.0 * seconds / all;
    Ok(Pace {
        rate: beats / (all - waited),
        slept: percent((all - ran - waited).max(0.0)),
        waited: percent(waited),
    })
}

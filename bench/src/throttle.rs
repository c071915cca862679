//! How well a throttle keeps its set point: by its own clock, and by what the guest gets done.
//!
//! The guest's vCPUs spin and count. Its share is one minus the rate of its counters under the throttle over their
//! rate without, measured right before; so it holds only where nobody else wants the processors, while the
//! throttle's own clock counts from when vCPUs stood still to when they could run. Each vCPU is pinned to a processor of
//! its own, where there are as many: else the kernel wakes two on one processor now and then, and one of them
//! waits for milliseconds until it is moved.

use std::time::{Duration, Instant};

use anyhow::Result;
use vcpu_state::throttle::DutyCycle;

use crate::cell::{Guest, Load};
use crate::cycles::Subject;
use crate::pace;
use crate::report::{Column, Table};
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
}

/// Measures each set point with each period; a table.
pub fn throttle(plan: &Plan) -> Result<Table> {
    debug_assert!(plan.load.guest == Guest::Spinning, "only what spins shows its share");
    let mut vm = InProcess::start_special(plan.load, Special::Pinned)?;
    let mut table = Table::new([
        Column::number("set %"),
        Column::number("period ms"),
        Column::number("cycle ms"),
        Column::number("held %").under("throttle"),
        Column::number("error"),
        Column::number("held %").under("guest"),
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
    let free = rate(vm, window)?;
    let throttle = vm.throttle(duty)?;
    // It learns the host's latencies in its first cycles.
    pace::pause_for(duty.period() * 10);
    let before = throttle.measured();
    let throttled = rate(vm, window)?;
    let after = throttle.measured();
    drop(throttle);
    let (stopped, running) = (
        after.stopped.saturating_sub(before.stopped),
        after.running.saturating_sub(before.running),
    );
    let cycles = u32::try_from(after.cycles - before.cycles).unwrap_or(u32::MAX).max(1);
    let own = 100.0 * stopped.as_secs_f64() / (stopped + running).as_secs_f64();
    let guest = 100.0 * (1.0 - throttled / free);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let set = f64::from(duty.percent());
    Ok(vec![
        duty.percent().to_string(),
        format!("{:.0}", ms(duty.period())),
        format!("{:.1}", ms((stopped + running) / cycles)),
        format!("{own:.2}"),
        format!("{:+.2}", own - set),
        format!("{guest:.2}"),
        format!("{:+.2}", guest - set),
    ])
}

/// Heartbeats a second, of all vCPUs together.
fn rate(vm: &mut InProcess, window: Duration) -> Result<f64> {
    let sum = |vm: &mut InProcess| vm.heartbeats().map(|beats| beats.iter().sum::<u64>());
    let (begun, before) = (Instant::now(), sum(vm)?);
    pace::pause_for(window);
    let (took, after) = (begun.elapsed(), sum(vm)?);
    // Heartbeats of a few seconds have far fewer digits than 53 bits.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let beats = (after - before) as f64;
    Ok(beats / took.as_secs_f64())
}

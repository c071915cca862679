//! Pauses while every vCPU is at the registers of CPU hotplug, PCI hotplug and events, next to pauses of the same guest that does
//! no MMIO but looks at its memory. The two have their turns one after the other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stillpoint_guest::driver::{Command, hammer};
use vmm::control::VmmControl;

use super::guest::Guest;
use super::{Plan, median};
use crate::pace;
use crate::report::{Column, Table, digits};
use crate::stats;

/// vCPUs of the guest, and those that it can have.
const VCPUS: u32 = 4;
const POSSIBLE: u32 = 8;
/// Pauses of a turn.
const CYCLES: u32 = 100;
/// How long the guest runs at least between two.
const SETTLE: Duration = Duration::from_millis(2);

/// What the vCPUs do.
#[derive(Clone, Copy)]
enum Guests {
    Memory,
    Registers,
}

impl Guests {
    const ALL: [Self; 2] = [Self::Memory, Self::Registers];

    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "no MMIO",
            Self::Registers => "hotplug and event registers",
        }
    }
}

pub fn measure(plan: &Plan) -> Result<Table> {
    let mut turns = Guests::ALL.map(|_| Vec::new());
    for _ in 0..plan.turns {
        for (guests, turns) in Guests::ALL.into_iter().zip(&mut turns) {
            turns.push(turn(guests).context(guests.name())?);
        }
    }
    let mut table = Table::new([
        Column::text("4 vCPUs at"),
        Column::number("pause, us").under("median"),
        Column::number("p99"),
        Column::number("ratio").under("of medians"),
    ]);
    let medians = turns.map(|turns| {
        let (middles, tails): (Vec<_>, Vec<_>) = turns.into_iter().unzip();
        (median(middles), median(tails))
    });
    for (guests, (middle, tail)) in Guests::ALL.into_iter().zip(medians) {
        let ratio = middle / medians[0].0;
        table.row([guests.name().to_owned(), digits(middle), digits(tail), digits(ratio)]);
    }
    Ok(table)
}

/// Median and 99th percentile of a turn's pauses, in microseconds.
fn turn(guests: Guests) -> Result<(f64, f64)> {
    let mut guest = Guest::start(|config| {
        config.cpus.boot_vcpus = VCPUS;
        config.cpus.max_vcpus = POSSIBLE;
        config.payload.cmdline = Some(format!("vcpus={VCPUS} quiet"));
    })?;
    if matches!(guests, Guests::Registers) {
        for vcpu in 0..VCPUS {
            let arguments = [hammer::SELECT, u64::from(POSSIBLE), u64::from(vcpu) + 1];
            guest.begin_on(vcpu, Command::Hammer, &arguments)?;
        }
    }
    let mut pauses = Vec::new();
    for _ in 0..CYCLES {
        pace::go_on()?;
        pace::pause_for(SETTLE);
        let begun = Instant::now();
        guest.vmm().pause()?;
        pauses.push(begun.elapsed());
        drop(guest.vmm().resume()?);
    }
    let summary = stats::Summary::of(&pauses).context("nothing was measured")?;
    Ok((summary.median_ms * 1e3, summary.p99_ms * 1e3))
}

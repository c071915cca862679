//! What an exit costs in user space.
//!
//! That is everything that a vCPU's thread does between two KVM_RUNs for one MMIO read: it asks its word
//! what to do, enters, looks the address up, reads the register, and leaves. Its parts are the production ones; there is no KVM.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use devices::bus::{AddressRange, Bus, BusDevice, Mmio, Written};
use vcpu_state::{Group, Kick, Member, Step};

use super::median;
use crate::pace;
use crate::report::{Column, Table, digits};

const CLAIMS: [u64; 3] = [1, 32, 1000];
const THREADS: [usize; 2] = [1, 2];
/// Exits of a thread in one turn, and turns.
const EXITS: u32 = 500_000;
const TURNS: usize = 5;
/// Bytes of a claim, and where the first one is.
const CLAIM: u64 = 0x1000;
const START: u64 = 0xC000_0000;

/// A register block of one register.
struct Block(AtomicU32);

impl BusDevice for Block {
    fn name(&self) -> &'static str {
        "block"
    }

    fn read(&self, _: u64, data: &mut [u8]) {
        let value = self.0.load(Ordering::Acquire).to_le_bytes();
        data.iter_mut().zip(value).for_each(|(to, from)| *to = from);
    }

    fn write(&self, _: u64, _: &[u8]) -> Written {
        Written::Done
    }
}

/// Nobody is ever kicked.
struct NoKick;

impl Kick for NoKick {
    fn kick(&self, _: usize) {}
}

/// The table.
pub fn measure() -> Result<Table> {
    let mut table = Table::new([
        Column::text("exit"),
        Column::number("claims"),
        Column::number("threads"),
        Column::number("ns"),
    ]);
    for claims in CLAIMS {
        for threads in THREADS {
            let mut turns = Vec::new();
            for _ in 0..TURNS {
                pace::go_on()?;
                turns.push(nanos(in_user_space(claims, threads)?, EXITS));
            }
            let ns = digits(median(turns));
            table.row(["in user space".to_owned(), claims.to_string(), threads.to_string(), ns]);
        }
    }
    Ok(table)
}

fn nanos(time: Duration, exits: u32) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(exits)
}

/// How long the slowest thread took.
fn in_user_space(claims: u64, threads: usize) -> Result<Duration> {
    let bus = Bus::<Mmio>::new();
    for claim in 0..claims {
        let range = AddressRange::new(START + CLAIM * claim, CLAIM)?;
        bus.publish(range, Arc::new(Block(AtomicU32::new(1))))?;
    }
    let group = Group::new(threads, Box::new(NoKick));
    let mut members = Vec::new();
    for index in 0..threads {
        let mut member = group.member(index).context("the member is taken")?;
        member.start().context("the member does not start")?;
        members.push(member);
    }
    let there = AtomicUsize::new(0);
    let thread = |mut member: Member| -> Result<Duration> {
        let index = member.index();
        there.fetch_add(1, Ordering::SeqCst);
        while there.load(Ordering::SeqCst) < threads {
            std::hint::spin_loop();
        }
        let begun = Instant::now();
        for exit in 0..u64::from(EXITS) {
            // Each its own devices, as far as there are enough.
            let address = START + CLAIM * ((exit * 7 + index as u64) % claims);
            let Step::Enter = member.next() else { continue };
            member.enter().context("the member does not enter")?;
            let mut data = [0; 4];
            bus.read(std::hint::black_box(address), &mut data);
            std::hint::black_box(data);
            member.leave();
        }
        Ok(begun.elapsed())
    };
    std::thread::scope(|scope| {
        let running: Vec<_> =
            members.into_iter().map(|member| scope.spawn(|| thread(member))).collect();
        let mut slowest = Duration::ZERO;
        for one in running {
            let took = one.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            slowest = slowest.max(took);
        }
        Ok(slowest)
    })
}

//! virtio-net: packets and megabytes a second through a tap.

use std::time::Duration;

use anyhow::{Result, ensure};
use stillpoint_guest::driver::{self, Command};
use vmm::config::NetConfig;

use super::guest::Guest;
use super::tap::{self, BURST, Tap};
use super::{Plan, median};
use crate::pace;
use crate::report::{Column, Table, digits};

/// Bytes of a frame without its checksum: the smallest that is usual, and the largest.
const SIZES: [usize; 2] = [64, 1514];
/// Packets by which the speed is found out.
const TRIAL: u64 = BURST;
/// Packets that the guest offers at once.
const BATCH: u64 = 64;
const CARD: &str = "net";

#[derive(Clone, Copy)]
enum Direction {
    Sent,
    Received,
}

/// A guest and a plain program in turns at one tap.
pub fn measure(plan: &Plan) -> Result<Table> {
    tap::in_namespace(|| {
        let mut bed = Bed::new()?;
        let mut table = Table::new([
            Column::text("packets"),
            Column::number("bytes"),
            Column::number("packets/s").under("guest"),
            Column::number("MB/s"),
            Column::number("packets/s").under("plain program"),
            Column::number("MB/s"),
            Column::number("ratio"),
        ]);
        for (name, direction) in [("sent", Direction::Sent), ("received", Direction::Received)] {
            for bytes in SIZES {
                eprintln!("packets {name}, {bytes} bytes …");
                let mut row = vec![name.to_owned()];
                row.extend(bed.row(direction, bytes, plan)?);
                table.row(row);
            }
        }
        Ok(table)
    })
}

struct Bed {
    tap: Tap,
    guest: Guest,
    slot: u64,
    ticks_per_second: f64,
}

impl Bed {
    fn new() -> Result<Self> {
        let tap = Tap::new()?;
        let fds = vec![tap.descriptor()];
        let mut guest = Guest::start(|config| {
            config.net.push(NetConfig { id: Some(CARD.to_owned()), fds, ..NetConfig::default() });
        })?;
        let slot = guest.slot(CARD)?;
        let ticks_per_second = guest.ticks_per_second()?;
        Ok(Self { tap, guest, slot, ticks_per_second })
    }

    fn row(&mut self, direction: Direction, bytes: usize, plan: &Plan) -> Result<Vec<String>> {
        let mut sides = [Vec::new(), Vec::new()];
        let [of_guest, of_host] = [
            packets_in(plan.window, self.guest(direction, bytes, TRIAL)?),
            packets_in(plan.window, self.host(direction, bytes, TRIAL)?),
        ];
        for _ in 0..plan.turns {
            pace::go_on()?;
            sides[0].push(self.guest(direction, bytes, of_guest)?);
            sides[1].push(self.host(direction, bytes, of_host)?);
        }
        let [guest, host] = sides.map(median);
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 53 bits")]
        let megabytes = |rate: f64| digits(rate * bytes as f64 / 1e6);
        Ok(vec![
            bytes.to_string(),
            format!("{guest:.0}"),
            megabytes(guest),
            format!("{host:.0}"),
            megabytes(host),
            digits(guest / host),
        ])
    }

    /// Packets a second of the guest.
    fn guest(&mut self, direction: Direction, bytes: usize, packets: u64) -> Result<f64> {
        match direction {
            Direction::Sent => {
                let before = tap::arrived()?;
                let arguments = [self.slot, packets, bytes as u64, BATCH];
                self.guest.run(Command::Transmit, &arguments)?;
                let arrived = tap::arrived()? - before;
                ensure!(arrived >= packets, "{arrived} packets of {packets} arrived");
            }
            Direction::Received => self.guest_receives(bytes, packets.div_ceil(BURST))?,
        }
        let [packets, ticks] = [self.guest.result(1)?, self.guest.result(2)?];
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 53 bits")]
        let rate = packets as f64 / (ticks as f64 / self.ticks_per_second);
        Ok(rate)
    }

    fn guest_receives(&mut self, bytes: usize, rounds: u64) -> Result<()> {
        self.guest.store(driver::MEETING, 0)?;
        self.guest.store(driver::ARGUMENTS + 8 * driver::RECEIVE_GO, 0)?;
        let arguments = [self.slot, BURST, bytes as u64, rounds];
        let begun = self.guest.begin(Command::Receive, &arguments)?;
        for round in 1..=rounds {
            let there = |guest: &Guest| Ok(guest.load(driver::MEETING)? == round);
            if !self.guest.until(begun, Command::Receive, there)? {
                break;
            }
            self.tap.fill(bytes)?;
            self.guest.store(driver::ARGUMENTS + 8 * driver::RECEIVE_GO, round)?;
        }
        self.guest.end(begun, Command::Receive)?;
        Ok(())
    }

    /// Packets a second of the plain program.
    fn host(&mut self, direction: Direction, bytes: usize, packets: u64) -> Result<f64> {
        let (mut time, mut moved) = (Duration::ZERO, 0);
        match direction {
            Direction::Sent => {
                time = self.tap.send(packets, bytes)?;
                moved = packets;
            }
            Direction::Received => {
                while moved < packets {
                    self.tap.fill(bytes)?;
                    time += self.tap.receive(bytes)?;
                    moved += BURST;
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 53 bits")]
        let rate = moved as f64 / time.as_secs_f64();
        Ok(rate)
    }
}

/// How many fit into a time at this rate.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
fn packets_in(window: Duration, rate: f64) -> u64 {
    (rate * window.as_secs_f64()) as u64 + 1
}

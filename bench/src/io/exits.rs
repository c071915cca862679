//! What an exit costs from the guest's instruction to its next one: with bare KVM calls, and with Stillpoint behind it.

use anyhow::Result;
use stillpoint_guest::driver::{Command, PCI_HOTPLUG};

use super::guest::Guest;
use super::median;
use crate::floor::exits::{Access, Exits};
use crate::pace;
use crate::report::{Column, Table};

/// Exits of one turn, and turns.
const EXITS: u32 = 5_000;
const TURNS: usize = 5;
/// A register that costs nothing: B0EJ, which reads as zeros.
const REGISTER: u64 = PCI_HOTPLUG + 8;
/// The same of ports: the progress code.
const PORT: u64 = 0x80;

/// One kind of exit. The driver guest is at CPL 3 only.
struct Case {
    name: &'static str,
    access: Access,
    cpl: u8,
    ours: Option<(Command, u64)>,
}

/// The table.
pub fn measure() -> Result<Table> {
    let mut table = Table::new([
        Column::text("round trip"),
        Column::number("CPL"),
        Column::number("bare KVM, ns"),
        Column::number("Stillpoint, ns"),
    ]);
    let cases = [
        ("port read", Access::Port, 0, None),
        ("port read", Access::Port, 3, Some((Command::PortLoop, PORT))),
        ("MMIO read", Access::Register, 0, None),
        ("MMIO read", Access::Register, 3, Some((Command::ReadLoop, REGISTER))),
    ];
    let mut guest = Guest::start(|_| {})?;
    for (name, access, cpl, ours) in cases {
        let case = Case { name, access, cpl, ours };
        table.row(case.measure(&mut guest)?);
    }
    Ok(table)
}

impl Case {
    /// In turns, so that both have the same neighbours.
    fn measure(&self, guest: &mut Guest) -> Result<[String; 4]> {
        eprintln!("exits: {} at CPL {} …", self.name, self.cpl);
        let mut bare = Exits::new(self.access, self.cpl)?;
        bare.run(EXITS / 10)?;
        let (mut floor, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            pace::go_on()?;
            floor.push(bare.run(EXITS)?.as_secs_f64());
            if let Some((command, place)) = self.ours {
                ours.push(guest.run(command, &[place, u64::from(EXITS)])?.0.as_secs_f64());
            }
        }
        let nanos = |turns: Vec<f64>| format!("{:.0}", median(turns) * 1e9 / f64::from(EXITS));
        let ours = if ours.is_empty() { String::new() } else { nanos(ours) };
        Ok([self.name.to_owned(), self.cpl.to_string(), nanos(floor), ours])
    }
}

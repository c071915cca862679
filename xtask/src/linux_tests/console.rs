//! A line that is typed on hvc0 comes back from it, with the size that the guest takes its terminal for.
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Bed;
use super::guest;
use super::storm::Storm;

/// How many lines are typed.
const LINES: u32 = 40;
/// How many at most, until the guest has seen the new size.
const LINES_OF_RESIZE: u32 = 400;
/// The new size.
const COLUMNS: u16 = 97;
const ROWS: u16 = 31;

/// See above. The host's end is a pseudo-terminal.
pub fn typing(bed: &Bed) -> Result<String> {
    let mut vm = guest::start(bed, "console", &["--console", "pty"])?;
    let info = vm.info()?;
    let pty = info["config"]["console"]["file"].as_str().context("vm.info names no pty")?;
    let mut keys = OpenOptions::new().read(true).write(true).open(PathBuf::from(pty))?;
    let mut screen = BufReader::new(keys.try_clone()?);
    vm.run("answer_on_hvc0")?;

    let storm = Storm::start(&vm)?;
    for number in 0..LINES {
        type_line(&mut keys, &mut screen, number)?;
    }
    // The VMM learns the size with the next key, and the guest some time after it.
    let size = Winsize { ws_col: COLUMNS, ws_row: ROWS, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&keys, size)?;
    let wanted = format!("{ROWS} {COLUMNS}");
    let resized = (LINES..LINES_OF_RESIZE).find_map(|number| {
        let size = type_line(&mut keys, &mut screen, number).ok()?;
        (size == wanted).then_some(number)
    });
    let Some(last) = resized else { bail!("the guest's terminal did not become {wanted}") };
    let cycles = storm.end()?;
    guest::finish(vm, &["__console"])?;
    Ok(format!("{} lines, another size, {cycles} cycles of pause and resume", last + 1))
}

/// Types a line and waits until it comes back; the size that the guest's terminal has, as `stty size` says it.
fn type_line(keys: &mut File, screen: &mut impl BufRead, number: u32) -> Result<String> {
    writeln!(keys, "line {number}")?;
    let wanted = format!("hvc0 got line {number}, size ");
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        if screen.read_line(&mut line)? == 0 {
            bail!("hvc0 ended before {wanted:?}; it said {seen:?}");
        }
        if let Some(size) = line.trim_end().strip_prefix(&wanted) {
            return Ok(size.to_owned());
        }
        seen.push_str(&line);
    }
}

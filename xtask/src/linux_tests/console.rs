//! A line that is typed on hvc0 comes back from it, with the size that the guest takes its terminal for.
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Bed;
use super::guest;
use super::storm::Storm;

/// How many lines are typed.
const LINES: u32 = 40;
/// How many at most, until the guest has seen the new size.
const LINES_OF_RESIZE: u32 = 400;
/// How long a line may take to come back.
const PATIENCE: Duration = Duration::from_mins(1);
/// The new size.
const COLUMNS: u16 = 97;
const ROWS: u16 = 31;

/// See above. The host's end is a pseudo-terminal.
pub fn typing(bed: &Bed) -> Result<String> {
    let mut vm = guest::start(bed, "console", &["--console", "pty"])?;
    let info = vm.info()?;
    let pty = info["config"]["console"]["file"].as_str().context("vm.info names no pty")?;
    let mut keys = OpenOptions::new().read(true).write(true).open(PathBuf::from(pty))?;
    let screen = lines_of(keys.try_clone()?);
    vm.run("answer_on_hvc0")?;

    let storm = Storm::start(&vm)?;
    for number in 0..LINES {
        type_line(&mut keys, &screen, number)?;
    }
    // The VMM learns the size with the next key, and the guest some time after it.
    let size = Winsize { ws_col: COLUMNS, ws_row: ROWS, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&keys, size)?;
    let wanted = format!("{ROWS} {COLUMNS}");
    let mut number = LINES;
    while type_line(&mut keys, &screen, number)? != wanted {
        number += 1;
        ensure!(number < LINES_OF_RESIZE, "the guest's terminal did not become {wanted}");
    }
    let cycles = storm.end()?;
    guest::finish(vm, &["__console"])?;
    Ok(format!("{} lines, another size, {cycles} cycles of pause and resume", number + 1))
}

/// What comes out of the terminal, by lines.
fn lines_of(terminal: File) -> Receiver<String> {
    let (sender, lines) = channel();
    // Ends with the terminal, or with the test, which takes no more.
    std::thread::spawn(move || {
        for line in BufReader::new(terminal).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// Types a line and waits until it comes back; the size that the guest's terminal has, as `stty size` says it.
fn type_line(keys: &mut File, screen: &Receiver<String>, number: u32) -> Result<String> {
    writeln!(keys, "line {number}")?;
    let wanted = format!("hvc0 got line {number}, size ");
    let mut seen = Vec::new();
    loop {
        let Ok(line) = screen.recv_timeout(PATIENCE) else {
            bail!("hvc0 did not say {wanted:?}, but {seen:?}");
        };
        if let Some(size) = line.strip_prefix(&wanted) {
            return Ok(size.trim_end().to_owned());
        }
        seen.push(line);
    }
}

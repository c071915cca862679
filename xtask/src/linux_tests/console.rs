//! A line that is typed on hvc0 comes back from it.
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::Bed;
use super::guest;
use super::storm::Storm;

/// How many lines are typed.
const LINES: u32 = 40;

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
        writeln!(keys, "line {number}")?;
        let wanted = format!("hvc0 got line {number}");
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            if screen.read_line(&mut line)? == 0 {
                bail!("hvc0 ended before {wanted:?}; it said {seen:?}");
            }
            if line.trim_end() == wanted {
                break;
            }
            seen.push_str(&line);
        }
    }
    let cycles = storm.end()?;
    guest::finish(vm, &["__console"])?;
    Ok(format!("{LINES} lines, {cycles} cycles of pause and resume"))
}

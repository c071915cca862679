//! A watchdog that counts the guest's time.
//!
//! ```text
//! kicked ── paused for longer than its time ── goes on ── kicked no longer ── paused again ── goes on ── reset ── the next boot knows why
//! ```
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Bed;
use super::autopsy;
use super::guest;
use super::vm::{Vm, text};

/// Seconds that the guest may be silent for.
const TIMEOUT: u64 = 20;
/// Linux's WDIOF_CARDRESET: the watchdog expired (`include/uapi/linux/watchdog.h`).
const CARD_RESET: &str = "32";

/// See above. Debian's cloud kernel has no driver, so it is the kernel for real machines.
pub fn resets_a_silent_guest(bed: &Bed) -> Result<String> {
    let (kernel, initramfs) = (bed.guest.stock_bzimage(), bed.guest.stock_initramfs());
    let cmdline = format!("console=ttyS0 quiet sp.run=commands sp.drivers {}", autopsy::CMDLINE);
    let options = [
        "--kernel",
        text(&kernel)?,
        "--initramfs",
        text(&initramfs)?,
        "--cmdline",
        &cmdline,
        "--cpus",
        "boot=2",
        "--memory",
        "size=512M",
        "--serial",
        "tty",
        "--watchdog",
    ];
    let mut vm = Vm::start(bed, "watchdog", &options)?;
    vm.wait_for("SP-READY", 0)?;
    let said = vm.run(&format!("watchdog_kicked {TIMEOUT}"))?;
    ensure!(guest::value(&said, "identity=")?.contains("i6300ESB"), "{said:?}");
    ensure!(guest::value(&said, "bootstatus=")? == "0", "{said:?}");
    ensure!(guest::value(&said, "timeout=")? == TIMEOUT.to_string(), "{said:?}");

    paused_for_longer(&mut vm)?;
    vm.ask("ticks 30", "SP-TICKS-DONE")?;
    unharmed(&vm)?;
    ensure!(vm.counter("__watchdog", "reloads")? > 2, "it is not kicked");

    vm.run("watchdog_silent")?;
    let from = vm.serial.len();
    paused_for_longer(&mut vm)?;
    vm.wait_for("SP-READY", from)?;
    let resets = vm.counter("guest", "watchdog_resets")?;
    ensure!(resets == 1, "{resets} resets by the watchdog were counted");
    let said = vm.run(&format!("watchdog_kicked {TIMEOUT}"))?;
    ensure!(guest::value(&said, "bootstatus=")? == CARD_RESET, "{said:?}");
    guest::finish(vm, &[])?;
    Ok("reset once".to_owned())
}

/// Nothing comes of a pause.
fn paused_for_longer(vm: &mut Vm) -> Result<()> {
    vm.command("pause")?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(TIMEOUT + 5) {
        vm.listen(Duration::from_secs(1));
    }
    let state = vm.info()?["state"].clone();
    ensure!(state == "Paused", "the VM is {state}");
    unharmed(vm)?;
    vm.command("resume").map(drop)
}

fn unharmed(vm: &Vm) -> Result<()> {
    let expiries =
        vm.counter("__watchdog", "expiries")? + vm.counter("guest", "watchdog_resets")?;
    ensure!(expiries == 0, "it has expired");
    Ok(())
}

//! A guest that goes from one VMM to another: from the first second of its boot on, and while it writes to its disks; and through a snapshot.
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::guest::{self, Network};
use super::images::{self, Images};
use super::vm::{PATIENCE, Vm, text};
use super::{Bed, disks};

const IDS: [&str; 2] = ["raw", "qcow2"];
/// Migrations while it boots.
const BOOTING: usize = 3;
/// What fio writes and verifies on each disk while the VM moves.
const FIO_MIB: u32 = 12;

/// Boots, moving on again and again; then fio writes and verifies on each disk while the VM moves, and while it is saved and restored.
pub fn while_it_boots_and_writes(bed: &Bed) -> Result<String> {
    let images = Images::new("moves")?;
    let (raw, qcow2) = (images.raw("raw", 64)?, images.qcow2("qcow2", 64)?);
    let raw_option = format!("path={},id=raw", text(&raw)?);
    let qcow2_option = format!("path={},id=qcow2,image_type=qcow2", text(&qcow2)?);
    let devices = ["--disk", &raw_option, &qcow2_option];
    let directory = tempfile_beside(&raw);
    let mut moves = Moves::new(bed, &directory);

    let mut vm = guest::begin(bed, "moves", "", Network::Shared, &devices)?;
    for _ in 0..BOOTING {
        vm = moves.migrate(vm)?;
    }
    guest::await_commands(&mut vm)?;
    let mut sums = Vec::new();
    for id in IDS {
        disks::mount(&mut vm, id)?;
        sums.push(disks::fill(&mut vm, id)?);
    }
    for id in IDS {
        moves.begin(&mut vm, &format!("fio_disk {id} {FIO_MIB}"))?;
        vm = moves.migrate(vm)?;
        vm = moves.migrate(vm)?;
        moves.await_success(&mut vm)?;
        moves.begin(&mut vm, &format!("fio_disk {id} {FIO_MIB}"))?;
        vm = moves.restore(vm)?;
        moves.await_success(&mut vm)?;
    }
    for id in IDS {
        vm.run(&format!("reread_disk {id}"))?;
        vm.run(&format!("umount_disk {id}"))?;
        ensure!(vm.counter(id, "errors")? == 0, "{id} counts errors");
    }
    let count = moves.count;
    guest::finish(vm, &[])?;
    images::check_raw(&images, &raw, &sums[0])?;
    images::check_raw(&images, &images::checked_qcow2(&qcow2)?, &sums[1])?;
    Ok(format!("{count} times elsewhere, {FIO_MIB} MiB of fio each time on a disk"))
}

/// A directory for snapshots and sockets, where the images are.
fn tempfile_beside(image: &Path) -> std::path::PathBuf {
    image.with_file_name("elsewhere")
}

/// Looks again and again until it is so.
pub fn until(vm: &Vm, what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    // Nobody sends: the wait between two looks.
    let (_nobody, never) = channel::<()>();
    while !so()? {
        ensure!(begun.elapsed() < PATIENCE, "{what}; {}", vm.report());
        let _ = never.recv_timeout(Duration::from_millis(20));
    }
    Ok(())
}

/// Moves of one VM.
pub struct Moves<'b> {
    bed: &'b Bed,
    directory: &'b Path,
    count: usize,
    /// What the guest has said since a command was begun, in VMMs that it has left.
    said: String,
    /// Where that begins in the log of the VMM that it is in.
    from: usize,
}

impl<'b> Moves<'b> {
    /// None yet; snapshots and sockets go into the directory.
    pub fn new(bed: &'b Bed, directory: &'b Path) -> Self {
        Self { bed, directory, count: 0, said: String::new(), from: 0 }
    }

    /// The VMM's program.
    pub fn stillpoint(&self) -> &'b Path {
        &self.bed.stillpoint
    }

    fn here(&self) -> Command {
        Command::new(self.stillpoint())
    }

    /// Has the guest begin a command.
    fn begin(&mut self, vm: &mut Vm, command: &str) -> Result<()> {
        self.said.clear();
        self.from = self.log(vm)?.len();
        vm.send(command)
    }

    /// The command that was begun ends well, wherever: it may have ended in a VMM that the guest has left, or said so while it went from
    /// one to the next.
    fn await_success(&mut self, vm: &mut Vm) -> Result<()> {
        let mut lines = vm.serial.len();
        loop {
            let said = format!("{}{}", self.said, self.log_here(vm)?).replace('\r', "");
            if let Some((_, end)) = said.split_once("SP-DONE ")
                && end.contains('\n')
            {
                ensure!(end.starts_with("0\n"), "{said}; {}", vm.report());
                return Ok(());
            }
            // Any line: it is in the log before it comes.
            lines = vm.wait_for("", lines)?;
        }
    }

    /// Keeps what the guest has said in a VMM that has ended.
    fn left(&mut self, vm: &Vm) -> Result<()> {
        self.said += &self.log_here(vm)?;
        self.from = 0;
        Ok(())
    }

    fn log(&self, vm: &Vm) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.bed.logs.join(format!("{}.serial", vm.name)))?)
    }

    fn log_here(&self, vm: &Vm) -> Result<String> {
        let log = self.log(vm)?;
        Ok(String::from_utf8_lossy(log.get(self.from..).unwrap_or_default()).into_owned())
    }

    fn next(&mut self, vm: &Vm) -> Result<(String, std::path::PathBuf)> {
        self.count += 1;
        std::fs::create_dir_all(self.directory)?;
        let name = vm.name.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit());
        Ok((format!("{name}-{}", self.count), self.directory.join(self.count.to_string())))
    }

    /// The VM in another VMM; the one that it was in has ended.
    fn migrate(&mut self, vm: Vm) -> Result<Vm> {
        self.migrate_as(self.here(), vm)
    }

    /// The same, to a VMM that is started by this command.
    pub fn migrate_as(&mut self, start: Command, mut vm: Vm) -> Result<Vm> {
        let (name, socket) = self.next(&vm)?;
        let url = format!("unix:{}", text(&socket)?);
        let arrived = Vm::arrive(start, self.bed, &name, "receive", &[&url])?;
        until(&arrived, "nobody waits there", || Ok(socket.exists()))?;
        vm.command_with("migrate", &["--to", &url])?;
        let status = vm.wait()?;
        ensure!(status.success(), "after its VM had gone the VMM ended with {status}");
        self.left(&vm)?;
        Ok(arrived)
    }

    /// The VM out of a snapshot of it, in another VMM; the one that it was in was ended with it, so that the disks are as they were.
    fn restore(&mut self, vm: Vm) -> Result<Vm> {
        self.restore_as(self.here(), vm)
    }

    /// The same, in a VMM that is started by this command.
    pub fn restore_as(&mut self, start: Command, mut vm: Vm) -> Result<Vm> {
        let (name, directory) = self.next(&vm)?;
        vm.command("pause")?;
        vm.command_with("snapshot", &[text(&directory)?])?;
        vm.command("stop")?;
        vm.wait()?;
        self.left(&vm)?;
        let memory = if self.count.is_multiple_of(2) { "copy" } else { "ondemand" };
        let words = [text(&directory)?, "--memory", memory];
        let arrived = Vm::arrive(start, self.bed, &name, "restore", &words)?;
        until(&arrived, "it does not come", || {
            Ok(arrived.info().is_ok_and(|info| info["state"] == "Running"))
        })?;
        // Also while memory still comes from it; and there is no room for the snapshots of a long run.
        std::fs::remove_dir_all(&directory)?;
        Ok(arrived)
    }
}

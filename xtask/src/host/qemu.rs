//! The emulated machine: its command line, its output while it runs, and what it means when it ends.
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::scratch::Scratch;
use super::{Options, Streams};
use crate::progress::tail;
use crate::terminal::Terminal;

/// Features that are taken from the processor.
const WITHOUT: [&str; 17] = [
    // The emulation lacks them; asking for them gets warnings.
    "rdseed",
    "sha-ni",
    "fxsr-opt",
    "misalignsse",
    "3dnowprefetch",
    "osvw",
    "topoext",
    "nrip-save",
    "xsavec",
    // QEMU before 8.2 does not intercept XSETBV, so that a KVM in it does not learn which states its guest
    // has enabled; the guest finds "XSAVE consistency problem". Without XSAVE there is nothing to enable.
    "xsave",
    "xsaveopt",
    "xgetbv1",
    "avx",
    "avx2",
    "f16c",
    "fma",
    "vaes",
];

/// A tick on every processor, for ever. QEMU before 10.2 clears a bit in a processor's set of pending interrupts without a
/// lock when it leaves a guest of that processor (`do_vmexit`); what another thread sets in the same instant is lost. A
/// processor that sleeps without a tick would then sleep on; with one it learns of what it missed a few milliseconds later.
const TICK: &str = "nohz=off highres=off";

/// A piece of what the command wrote.
pub enum Output<'a> {
    /// To standard output.
    Out(&'a [u8]),
    /// To standard error (and what QEMU itself has to say).
    Err(&'a [u8]),
}

/// Runs the machine to its end and returns the exit status of the command in it.
pub fn run(
    options: &Options,
    kernel: &Path,
    scratch: &Scratch,
    streams: Streams<'_>,
) -> Result<u8> {
    let mut qemu = machine(options, scratch);
    qemu.arg("-kernel").arg(kernel);
    // All emulated TSCs are one clock, QEMU's host's. The kernel can't know that; without it KVM moves guests' TSCs about,
    // and they find them unstable.
    let mut append = format!("console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable {TICK}");
    match streams {
        Streams::Terminal => {
            let terminal = Terminal::remember()?;
            append.push_str(" sp.tty");
            append.push_str(&terminal.words());
            qemu.args([
                "-append",
                &append,
                "-chardev",
                "stdio,id=tty,signal=off",
                "-serial",
                "chardev:tty",
            ]);
            let status = start(&mut qemu)?.wait().context("cannot wait for QEMU")?;
            drop(terminal);
            verdict(scratch, status)
        }
        Streams::Piped(each) => {
            qemu.args(["-append", &append]);
            // Not "stdio": at the end of its input that one refuses output too.
            qemu.args(["-chardev", "file,id=out,path=/proc/self/fd/1"]);
            qemu.args(["-chardev", "file,id=err,path=/proc/self/fd/2"]);
            qemu.args(["-device", "virtserialport,chardev=out,name=sp.out"]);
            qemu.args(["-device", "virtserialport,chardev=err,name=sp.err"]);
            qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let status = forward(options, start(&mut qemu)?, scratch, each)?;
            verdict(scratch, status)
        }
    }
}

/// All but the kernel, its command line, and where the command's streams go.
fn machine(options: &Options, scratch: &Scratch) -> Command {
    // setpriv: when this program is killed, the machine goes too.
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "TERM", "qemu-system-x86_64"]);
    qemu.args(["-accel", "tcg,thread=multi", "-M", "q35", "-cpu"]);
    qemu.arg(format!(
        "EPYC-v1,+svm,+npt,{}",
        WITHOUT.map(|feature| format!("-{feature}")).join(",")
    ));
    qemu.args(["-m", &options.mem.to_string(), "-smp", &options.smp.to_string()]);
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-monitor",
        "none",
        "-no-reboot",
    ]);
    // Why it ended, when it ended without a word: a triple fault logs the processor's registers.
    qemu.args(["-d", "cpu_reset", "-D"]).arg(scratch.emulator_log());
    qemu.arg("-initrd").arg(scratch.initramfs());
    qemu.arg("-serial").arg(joined("file:", &scratch.console(), ""));
    qemu.arg("-drive").arg(joined("if=virtio,format=raw,file=", &scratch.disk(), ""));
    qemu.args(["-device", "virtio-serial"]);
    qemu.arg("-chardev").arg(joined("file,id=status,path=", &scratch.status(), ""));
    qemu.args(["-device", "virtserialport,chardev=status,name=sp.status"]);
    qemu
}

/// An option that holds a path; a comma in it is doubled, as QEMU wants it.
fn joined(before: &str, path: &Path, after: &str) -> String {
    format!("{before}{}{after}", path.to_string_lossy().replace(',', ",,"))
}

fn start(qemu: &mut Command) -> Result<Child> {
    qemu.spawn().context("cannot start QEMU through `setpriv` (package util-linux)")
}

/// Hands on what comes out until the machine ends. The limit is a watchdog: it ends nothing that goes well.
fn forward(
    options: &Options,
    mut child: Child,
    scratch: &Scratch,
    each: &mut dyn FnMut(Output<'_>),
) -> Result<ExitStatus> {
    let deadline = Instant::now() + options.limit;
    let (sender, chunks) = channel();
    if let Some(out) = child.stdout.take() {
        read_in_background(out, false, sender.clone());
    }
    if let Some(err) = child.stderr.take() {
        read_in_background(err, true, sender);
    }
    loop {
        match chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((false, chunk)) => each(Output::Out(&chunk)),
            Ok((true, chunk)) => each(Output::Err(&chunk)),
            // Both streams have ended, so QEMU has.
            Err(RecvTimeoutError::Disconnected) => {
                return child.wait().context("cannot wait for QEMU");
            }
            Err(RecvTimeoutError::Timeout) => {
                child.kill().context("cannot end QEMU")?;
                child.wait().context("cannot wait for QEMU")?;
                bail!(
                    "the nested host had not ended after {} s and was ended; {}",
                    options.limit.as_secs(),
                    console(scratch)
                );
            }
        }
    }
}

fn read_in_background(
    mut from: impl Read + Send + 'static,
    is_error: bool,
    to: Sender<(bool, Vec<u8>)>,
) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if to.send((is_error, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
}

/// What the end of the machine means: the status that it left, else a crash.
fn verdict(scratch: &Scratch, qemu: ExitStatus) -> Result<u8> {
    let left = std::fs::read_to_string(scratch.status()).unwrap_or_default();
    match left.trim().parse() {
        Ok(status) => Ok(status),
        Err(_) if !qemu.success() => bail!("QEMU failed ({qemu})"),
        Err(_) if scratch.triple_fault() => bail!(
            "the nested host's processor met a triple fault (its registers: {}); {}",
            scratch.emulator_log().display(),
            console(scratch)
        ),
        Err(_) => bail!("the nested host ended before the command did; {}", console(scratch)),
    }
}

/// The end of the nested host's console, for an error.
fn console(scratch: &Scratch) -> String {
    let log = std::fs::read(scratch.console()).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    if log.trim().is_empty() {
        return "its console is empty".to_owned();
    }
    format!(
        "the end of its console ({}):\n{}",
        scratch.console().display(),
        tail(&log, 25).trim_end()
    )
}

//! A vsock in both directions through the hybrid protocol's Unix sockets, with checksums.
//!
//! ```text
//! host ── PATH: "CONNECT 5000\n", "OK …\n" ──▶ the guest's port 5000        guest ── CID 2, port 6000 ──▶ host: PATH_6000
//! ```
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::Bed;
use super::disks::sums;
use super::guest;
use super::hotplug::{add_when_free, remove};
use super::images::Images;
use super::storm::Storm;
use super::vm::{PATIENCE, text};
use crate::tool;

/// How much goes each way.
const KIB: usize = 2048;
const ECHO: u32 = 5000;
const SINK: u32 = 6000;

/// See above.
pub fn moves_data(bed: &Bed) -> Result<String> {
    let files = Images::new("vsock")?;
    let socket = files.path("vsock");
    let vsock = format!("cid=3,socket={},id=vsock", text(&socket)?);
    let mut vm = guest::start(bed, "vsock", &["--vsock", &vsock])?;
    let listener = UnixListener::bind(files.path(&format!("vsock_{SINK}")))?;

    let storm = Storm::start(&vm)?;
    vm.run(&format!("vsock_echo {ECHO}"))?;
    echo(&socket)?;

    let sink = std::thread::spawn(move || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        listener.accept()?.0.read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let sent = sums(&vm.run(&format!("vsock_send {SINK} {KIB}"))?);
    let received = sink.join().map_err(|_| anyhow!("the reader panicked"))??;
    let file = files.path("received");
    std::fs::write(&file, &received)?;
    let sum = tool::output(Command::new("sha256sum").arg(&file))?;
    let first = |text: &str| text.split_whitespace().next().map(str::to_owned);
    ensure!(
        received.len() == KIB << 10 && sent.first().and_then(|sum| first(sum)) == first(&sum),
        "{} bytes came, of checksum {sum}, not {sent:?}",
        received.len()
    );

    // Another one, added at run time: its socket is made anew.
    remove(&mut vm, "vsock")?;
    add_when_free(&vm, "add-vsock", "vsock", &vsock)?;
    echo(&socket)?;
    let cycles = storm.end()?;
    guest::finish(vm, &["vsock"])?;
    Ok(format!("{KIB} KiB each way and back, {cycles} cycles of pause and resume"))
}

/// Sends random bytes to the guest's echo, while they come back.
fn echo(socket: &Path) -> Result<()> {
    let mut bytes = vec![0; KIB << 10];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let (mut reader, mut stream) = connect(socket)?;
    let back = std::thread::spawn(move || {
        let mut back = Vec::new();
        reader.read_to_end(&mut back).map(|_| back)
    });
    stream.write_all(&bytes).context("cannot send to the guest")?;
    stream.shutdown(Shutdown::Write)?;
    let back = back.join().map_err(|_| anyhow!("the reader panicked"))?;
    let back = back.context("cannot read from the guest")?;
    ensure!(back == bytes, "{} bytes came back of {}, or others", back.len(), bytes.len());
    Ok(())
}

/// Connects to the guest's port as soon as somebody listens there.
fn connect(socket: &Path) -> Result<(BufReader<UnixStream>, UnixStream)> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let mut stream = UnixStream::connect(socket)
            .with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        writeln!(stream, "CONNECT {ECHO}")?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut answer = String::new();
        match reader.read_line(&mut answer) {
            // Nobody listens: the connection is closed.
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error).context("no answer to CONNECT"),
            Ok(_) => {
                ensure!(answer.starts_with("OK "), "CONNECT was answered with {answer:?}");
                return Ok((reader, stream));
            }
        }
    }
    bail!("nobody came to listen on the guest's port {ECHO}")
}

//! A connection to the API: four bytes that say how the rest is cut into pieces, then what a
//! client sends.
//!
//! No bytes panic or stop the server; every answer is an HTTP response with a documented status;
//! the VMM is asked for nothing that has no answer; and the pieces in which requests come make no
//! difference (which is also what keeps a body from being taken for a request).
//!
//! The connection is a pair of SEQPACKET sockets: what is sent in one piece is read in one piece.
#![no_main]
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};

use libfuzzer_sys::fuzz_target;
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use vmm::api::serve_connection;
use vmm::config::{
    ConfigError, DiskConfig, LinkUrl, NetConfig, ReceiveMigrationConfig, Removal, ResizeConfig,
    ResizeDiskConfig, ResolveConfig, RestoreConfig, SendMigrationConfig, SnapshotConfig, VmConfig,
    VsockConfig, file_url, link_url,
};
use vmm::control::{Added, ControlError, Counters, VmInfo, VmState, VmmControl, Wake, device_tree};
use vmm::migration::TransferInfo;

/// The longest input: its answers fit the socket's buffer, so nobody waits for a reader.
const MAX_INPUT: usize = 2048;

/// The most pieces but one: they are all sent before any is read, and each takes about 1 KiB of the
/// socket's buffer, whatever is in it.
const MAX_PIECES: usize = 100;

/// The status codes of the API. 500 is what a panic or an error of the VMM gives; here neither is.
const STATUSES: [u16; 12] = [200, 204, 400, 404, 405, 409, 413, 417, 431, 501, 505, 100];

/// A VMM that does nothing but keep the last configuration and count.
#[derive(Default)]
struct Recorder {
    calls: AtomicU64,
    #[expect(clippy::disallowed_types, reason = "one thread, which is no vCPU")]
    config: std::sync::Mutex<Option<VmConfig>>,
}

impl Recorder {
    fn call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    fn vm(&self) -> Result<VmConfig, ControlError> {
        self.call();
        self.config.lock().expect("one thread").clone().ok_or(ControlError::NotCreated)
    }

    fn add(
        &self,
        change: impl FnOnce(&VmConfig) -> Result<(VmConfig, String), ConfigError>,
    ) -> Result<Added, ControlError> {
        let (config, id) = change(&self.vm()?)?;
        assert!(config.device_ids().contains(&id), "{id} is not in {config:?}");
        *self.config.lock().expect("one thread") = Some(config);
        Ok(Added::Configured)
    }
}

impl VmmControl for Recorder {
    fn create(&self, mut config: VmConfig) -> Result<(), ControlError> {
        self.call();
        config.validate().expect("the API has validated it");
        config.name_devices();
        *self.config.lock().expect("one thread") = Some(config);
        Ok(())
    }
    fn boot(&self) -> Result<(), ControlError> {
        self.vm().map(drop)
    }
    fn pause(&self) -> Result<(), ControlError> {
        self.vm()?;
        Err(ControlError::WrongPhase {
            action: "pause",
            state: VmState::Created,
            needed: "Running",
        })
    }
    fn resume(&self) -> Result<Wake, ControlError> {
        self.vm().map(|_| Wake::none())
    }
    fn shutdown(&self) -> Result<(), ControlError> {
        self.vm().map(drop)
    }
    fn reboot(&self) -> Result<(), ControlError> {
        self.vm().map(drop)
    }
    fn delete(&self) -> Result<(), ControlError> {
        self.vm()?;
        *self.config.lock().expect("one thread") = None;
        Ok(())
    }
    fn nmi(&self) -> Result<(), ControlError> {
        self.vm().map(drop)
    }
    fn power_button(&self) -> Result<(), ControlError> {
        self.vm().map(drop)
    }
    fn add_disk(&self, disk: DiskConfig) -> Result<Added, ControlError> {
        self.add(|config| config.with_disk(disk, &BTreeSet::new()))
    }
    fn add_net(&self, net: NetConfig) -> Result<Added, ControlError> {
        self.add(|config| config.with_net(net, &BTreeSet::new()))
    }
    fn add_vsock(&self, vsock: VsockConfig) -> Result<Added, ControlError> {
        self.add(|config| config.with_vsock(vsock, &BTreeSet::new()))
    }
    fn remove_device(&self, id: &str) -> Result<(), ControlError> {
        let config = self.vm()?;
        match config.without_device(id) {
            Removal::Removed(config) => {
                *self.config.lock().expect("one thread") = Some(*config);
                Ok(())
            }
            Removal::Fixed | Removal::Unknown => {
                Err(ControlError::no_device(id, config.device_ids()))
            }
        }
    }
    fn resize_disk(&self, resize: ResizeDiskConfig) -> Result<(), ControlError> {
        let config = self.vm()?;
        config
            .disk(&resize.id)
            .map(drop)
            .ok_or_else(|| ControlError::no_device(&resize.id, config.device_ids()))
    }
    fn resize(&self, resize: ResizeConfig) -> Result<(), ControlError> {
        let config = self.vm()?.resized(&resize)?;
        *self.config.lock().expect("one thread") = Some(config);
        Ok(())
    }
    fn info(&self) -> Result<VmInfo, ControlError> {
        let config = self.vm()?;
        Ok(VmInfo {
            device_tree: device_tree(&config, &BTreeMap::new()),
            memory_actual_size: config.memory.size,
            memory_missing_bytes: None,
            memory_hotplug: None,
            config,
            state: VmState::Created,
            name: None,
            last_error: None,
            vcpus: Vec::new(),
            last_pause_us: None,
            last_resume_us: None,
            boot_us: None,
            pid: 1,
        })
    }
    fn counters(&self) -> Result<Counters, ControlError> {
        self.vm().map(|_| BTreeMap::new())
    }
    fn snapshot(&self, config: SnapshotConfig) -> Result<(), ControlError> {
        self.vm()?;
        file_url("destination_url", &config.destination_url)?;
        Ok(())
    }
    fn restore(&self, config: RestoreConfig) -> Result<(), ControlError> {
        if self.vm().is_ok() {
            return Err(ControlError::AlreadyCreated);
        }
        file_url("source_url", &config.source_url)?;
        *self.config.lock().expect("one thread") = Some(VmConfig::default());
        Ok(())
    }
    fn send_migration(&self, config: SendMigrationConfig) -> Result<TransferInfo, ControlError> {
        self.vm()?;
        config.validate()?;
        Err(ControlError::NoTransfer)
    }
    fn receive_migration(
        &self,
        config: ReceiveMigrationConfig,
        listening: &(dyn Fn(&LinkUrl) + Sync),
    ) -> Result<(), ControlError> {
        if self.vm().is_ok() {
            return Err(ControlError::AlreadyCreated);
        }
        listening(&link_url("receiver_url", &config.receiver_url)?);
        Ok(())
    }
    fn migration_progress(&self) -> Result<TransferInfo, ControlError> {
        self.call();
        Err(ControlError::NoTransfer)
    }
    fn migration_cancel(&self) -> Result<(), ControlError> {
        self.call();
        Err(ControlError::NoTransfer)
    }
    fn migration_resolve(&self, _: ResolveConfig) -> Result<(), ControlError> {
        self.call();
        Err(ControlError::NotInDoubt)
    }
    fn vmm_shutdown(&self) -> Result<(), ControlError> {
        self.call();
        Ok(())
    }
}

/// What a connection comes to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Status and body of each answer, without invitations to send a body.
    answers: Vec<(u16, Vec<u8>)>,
    /// How often the VMM was asked for something.
    calls: u64,
    config: Option<VmConfig>,
}

fn exchange<'a>(pieces: impl Iterator<Item = &'a [u8]>, stop: &OwnedFd) -> Outcome {
    let flags = SocketFlags::CLOEXEC;
    let (server, client) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .expect("a pair of sockets");
    let (server, mut client) = (UnixStream::from(server), UnixStream::from(client));
    for piece in pieces {
        client.write_all(piece).expect("room for what is sent");
    }
    client.shutdown(std::net::Shutdown::Write).expect("shut down");
    let vmm = Recorder::default();
    serve_connection(server, stop.as_fd(), &vmm);
    let mut wire = Vec::new();
    let mut packet = [0; 65536];
    loop {
        match client.read(&mut packet) {
            Ok(0) => break,
            Ok(length) => wire.extend_from_slice(&packet[..length]),
            // Told once, before what was sent: closed with bytes that nobody read.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error}"),
        }
    }
    Outcome {
        answers: answers(&wire),
        calls: vmm.calls.into_inner(),
        config: vmm.config.into_inner().expect("one thread"),
    }
}

fn answers(mut wire: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut answers = Vec::new();
    while !wire.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut fields);
        let parsed = response.parse(wire).expect("an HTTP response");
        let httparse::Status::Complete(head) = parsed else { panic!("half a response") };
        let status = response.code.expect("a status");
        assert!(STATUSES.contains(&status), "{status}");
        let length = response
            .headers
            .iter()
            .find(|field| field.name == "Content-Length")
            .map_or(0, |field| std::str::from_utf8(field.value).unwrap().parse().unwrap());
        let (body, rest) = wire[head..].split_at(length);
        if status != 100 {
            answers.push((status, body.to_vec()));
        }
        wire = rest;
    }
    answers
}

/// Cuts `bytes` into pieces of the given lengths, over and over; what is left after [`MAX_PIECES`]
/// is the last one.
fn cut<'a>(bytes: &'a [u8], lengths: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut lengths = lengths.iter().cycle().take(MAX_PIECES);
    std::iter::from_fn(move || {
        let length = lengths.next().map_or(usize::MAX, |length| 1 + usize::from(*length % 32));
        let (piece, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        (!piece.is_empty()).then_some(piece)
    })
}

thread_local! {
    static STOP: RefCell<Option<OwnedFd>> = const { RefCell::new(None) };
}

fuzz_target!(|input: &[u8]| {
    let Some((lengths, bytes)) = input.split_at_checked(4) else { return };
    let bytes = &bytes[..bytes.len().min(MAX_INPUT)];
    STOP.with_borrow_mut(|stop| {
        let stop =
            stop.get_or_insert_with(|| eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd"));
        let whole = exchange(bytes.chunks(MAX_INPUT), stop);
        assert!(whole.calls <= whole.answers.len() as u64, "{whole:?}");
        let pieces = exchange(cut(bytes, lengths), stop);
        assert_eq!(whole, pieces);
    });
});

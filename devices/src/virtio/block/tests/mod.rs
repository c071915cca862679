//! Disks between a driver of the tests and files in a temporary directory.

mod claim;
mod images;
mod limits;
mod model;
mod passed;
pub(super) mod qcow2;
mod requests;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::config::feature;
use super::{BlockDevice, BlockOptions, Engine};
use crate::counters::CounterSource;
use crate::virtio::testing::{Buffers, Driver, Runner, Sent, activation};
use crate::virtio::{Features, VirtioDevice, WorkerError};

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

const SECTOR: usize = 512;

/// A raw image of so many sectors.
fn raw_image(dir: &Path, sectors: usize) -> PathBuf {
    let path = dir.join("disk.raw");
    std::fs::File::create(&path).unwrap().set_len((sectors * SECTOR) as u64).unwrap();
    path
}

/// A disk with a driver and a worker for its first queue.
struct Rig {
    device: BlockDevice,
    driver: Driver,
    runner: Runner,
    /// Last, so that the image is closed before it is removed.
    dir: Option<TempDir>,
}

impl Rig {
    /// An empty raw disk.
    fn raw(sectors: usize, adapt: impl FnOnce(&mut BlockOptions)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut options = BlockOptions::new("disk0", raw_image(dir.path(), sectors));
        adapt(&mut options);
        Self { dir: Some(dir), ..Self::open(options) }
    }

    fn open(options: BlockOptions) -> Self {
        Self::negotiated(options, feature::FLUSH)
    }

    fn negotiated(options: BlockOptions, features: u64) -> Self {
        let queue_size = options.queue_size;
        Self::of(BlockDevice::open(options).unwrap(), features, queue_size)
    }

    fn of(device: BlockDevice, features: u64, queue_size: u16) -> Self {
        let features = Features(features);
        let mut drivers = Driver::queues(1, queue_size);
        let mut workers = device.activate(activation(&drivers, features)).unwrap();
        let runner = Runner::start(workers.remove(0)).unwrap();
        Self { device, driver: drivers.remove(0), runner, dir: None }
    }

    fn path(&self) -> PathBuf {
        self.dir.as_ref().unwrap().path().join("disk.raw")
    }

    /// Makes a request available: the readable part is a header and `data`.
    fn send(&mut self, kind: u32, sector: u64, data: &[u8], writable: &[u32]) -> Sent {
        let header = header(kind, sector);
        let mut readable = vec![header.as_slice()];
        if !data.is_empty() {
            readable.push(data);
        }
        self.driver.send(&Buffers { readable, writable: writable.to_vec() })
    }

    /// Sleeps until so many requests have come back.
    fn collect(&mut self, count: usize) -> Vec<(u16, u32)> {
        let mut used = Vec::new();
        self.runner.step().unwrap();
        loop {
            used.extend(std::iter::from_fn(|| self.driver.used()));
            if used.len() >= count {
                return used;
            }
            self.runner.sleep().unwrap();
        }
    }

    /// Does one request; gives its status and what it wrote before that.
    fn request(&mut self, kind: u32, sector: u64, data: &[u8], room: u32) -> (u8, Vec<u8>) {
        let sent = self.send(kind, sector, data, &[room, 1][usize::from(room == 0)..]);
        assert_eq!(self.collect(1), [(sent.head, room + 1)]);
        let mut written = self.written(&sent);
        (written.pop().unwrap(), written)
    }

    /// Everything in the writable part of a request.
    fn written(&self, sent: &Sent) -> Vec<u8> {
        sent.writable.iter().flat_map(|(gpa, len)| self.driver.read(*gpa, *len)).collect()
    }

    fn write(&mut self, sector: u64, data: &[u8]) -> u8 {
        self.request(OUT, sector, data, 0).0
    }

    fn read(&mut self, sector: u64, len: usize) -> Vec<u8> {
        let (status, data) = self.request(IN, sector, &[], u32::try_from(len).unwrap());
        assert_eq!(status, OK);
        data
    }

    /// Why the worker does not go on.
    fn failure(&mut self) -> WorkerError {
        self.runner.step().expect_err("the worker stops")
    }

    fn counter(&self, name: &str) -> u64 {
        counter(&self.device, name)
    }
}

fn counter(device: &BlockDevice, name: &str) -> u64 {
    device.counters().into_iter().find(|(known, _)| *known == name).unwrap().1
}

fn header(kind: u32, sector: u64) -> [u8; 16] {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[8..].copy_from_slice(&sector.to_le_bytes());
    header
}

/// A range of a discard or write-zeroes request.
fn range(sector: u64, sectors: u32, flags: u32) -> [u8; 16] {
    let mut range = [0; 16];
    range[..8].copy_from_slice(&sector.to_le_bytes());
    range[8..12].copy_from_slice(&sectors.to_le_bytes());
    range[12..].copy_from_slice(&flags.to_le_bytes());
    range
}

/// Bytes that change after every `run` of them.
fn pattern(len: usize, run: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at / run % 256).unwrap()).collect()
}

/// Bytes that a file has on its file system.
fn allocated(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

const ENGINES: [Engine; 2] = [Engine::Blocking, Engine::IoUring];

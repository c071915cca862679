//! A disk between a driver that fills its queue with anything and an image: nothing panics, nothing but what the driver
//! offered comes back, every request that comes back has a status that exists, memory that the driver did not give to
//! the device is left alone, and so are an image that is read-only, the image's length, and what tells a raw image.
#![no_main]
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use arbitrary::Arbitrary;
use devices::virtio::block::{Access, BlockDevice, BlockOptions, Engine};
use devices::virtio::testing::{Buffers, Driver, Runner, activation};
use devices::virtio::{Features, VirtioDevice};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{Bytes, GuestAddress};

const QUEUE_SIZE: u16 = 16;
const SECTORS: u64 = 16;
const MAGIC: [u8; 4] = *b"QFI\xfb";
const WRITE: u16 = 2;
/// Where, behind the beginning of the buffers, a page is that the driver seldom gives away.
const CANARY: u64 = 1 << 20;
const CANARY_LEN: u64 = 4096;

#[derive(Debug, Arbitrary)]
enum Op<'a> {
    /// A request of the right shape, cut into buffers.
    Request {
        kind: u8,
        sector: u8,
        payload: &'a [u8],
        cut: u8,
        room: u16,
        sectors: u8,
    },
    /// A header of any value.
    Header {
        header: [u8; 16],
        room: u8,
    },
    /// A descriptor of any value.
    Describe {
        index: u8,
        gpa: u64,
        len: u32,
        flags: u16,
        next: u8,
        inside: bool,
    },
    Offer(u8),
    /// The ring's available index, or anything else in the rings.
    Poke {
        at: u16,
        value: u16,
    },
    Step,
}

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    readonly: bool,
    uring: bool,
    flush: bool,
    event_idx: bool,
    ops: Vec<Op<'a>>,
}

fuzz_target!(|input: Input| run(&input));

fn image() -> File {
    let image = File::from(memfd_create("disk", MemfdFlags::CLOEXEC).expect("a memfd"));
    image.write_all_at(&vec![0x11; 512 * SECTORS as usize], 0).expect("it takes the bytes");
    image
}

fn contents(image: &File) -> Vec<u8> {
    let len = image.metadata().expect("its length").len();
    let mut bytes = vec![0; usize::try_from(len).expect("a small image")];
    image.read_exact_at(&mut bytes, 0).expect("its bytes");
    bytes
}

fn run(input: &Input) {
    let image = image();
    let before = contents(&image);
    let access = if input.readonly { Access::ReadOnly } else { Access::ReadWrite };
    let engine = if input.uring { Engine::IoUring } else { Engine::Blocking };
    let path = format!("/proc/self/fd/{}", image.as_raw_fd());
    let options =
        BlockOptions { access, engine, queue_size: QUEUE_SIZE, ..BlockOptions::new("fuzz", path) };
    let device = BlockDevice::open(options).expect("a good image");
    let mut driver = Driver::queues(1, QUEUE_SIZE).remove(0);
    let bits = if input.flush { 1 << 9 } else { 0 }
        | if input.event_idx { Features::EVENT_IDX } else { 0 };
    let activated = device.activate(activation(std::slice::from_ref(&driver), Features(bits)));
    let worker = activated.expect("it has its queue").remove(0);
    let mut runner = Runner::start(worker).expect("it starts");
    let canary = GuestAddress(driver.buffers().0 + CANARY);
    driver.memory.write_slice(&[0xc5; CANARY_LEN as usize], canary).expect("RAM");
    let mut offered = 0_u32;
    let mut wild = false;
    for op in &input.ops {
        match *op {
            Op::Request { kind, sector, payload, cut, room, sectors } => {
                let kind = [0, 1, 4, 8, 11, 13, 99][usize::from(kind % 7)];
                let mut bytes = header(kind, sector.into()).to_vec();
                match kind {
                    1 => bytes.resize(16 + 512 * usize::from(sectors % 20), sector),
                    11 | 13 => {
                        bytes.extend(u64::from(sector).to_le_bytes());
                        bytes.extend(u32::from(sectors).to_le_bytes());
                        bytes.extend(u32::from(cut % 3).to_le_bytes());
                    }
                    _ => {}
                }
                let len = payload.len().min(bytes.len() - 16);
                bytes[16..16 + len].copy_from_slice(&payload[..len]);
                let (first, second) = bytes.split_at(usize::from(cut).clamp(1, bytes.len()));
                let readable = if second.is_empty() { vec![first] } else { vec![first, second] };
                let writable = vec![u32::from(room), 1];
                let sent = driver.send(&Buffers { readable, writable });
                offered += 1;
                let ended = runner.step().and_then(|()| runner.drain());
                while let Some((head, len)) = driver.used() {
                    if wild || head != sent.head {
                        continue;
                    }
                    assert_eq!(len, u32::from(room) + 1, "all of the writable part");
                    let status = driver.read(sent.writable[1].0, 1)[0];
                    assert!(status <= 2, "a status");
                    let writes = matches!(kind, 1 | 11 | 13);
                    assert!(!(input.readonly && writes && status == 0), "it is read-only");
                }
                if ended.is_err() {
                    break;
                }
            }
            Op::Header { header, room } => {
                driver.send(&Buffers { readable: vec![&header], writable: vec![room.into(), 1] });
                offered += 1;
            }
            Op::Describe { index, gpa, len, flags, next, inside } => {
                let (gpa, len) = if inside {
                    (driver.buffers().0 + gpa % CANARY, len % 8192)
                } else {
                    (gpa, len)
                };
                // Indirect tables may describe anything.
                wild |= flags & 4 != 0 || (flags & WRITE != 0 && overlaps(gpa, len, canary.0));
                let raw = (GuestAddress(gpa), len, flags, u16::from(next));
                driver.write_descriptor(u16::from(index) % QUEUE_SIZE, raw);
            }
            Op::Offer(head) => {
                driver.offer(head.into());
                offered += 1;
            }
            Op::Poke { at, value } => {
                wild = true;
                let at = GuestAddress(driver.available_ring().0 + u64::from(at) % 128);
                driver.memory.write_obj(value, at).expect("RAM");
            }
            Op::Step => {
                if runner.step().and_then(|()| runner.drain()).is_err() {
                    break;
                }
            }
        }
    }
    let mut used = 0_u32;
    while driver.used().is_some() && used < 1 << 17 {
        used += 1;
    }
    if !wild {
        assert!(used <= offered, "nothing comes back that was not offered");
        let page = driver.read(canary, CANARY_LEN as u32);
        assert!(page.iter().all(|byte| *byte == 0xc5), "memory that was not given to it");
    }
    drop(runner);
    let after = contents(&image);
    assert_eq!(after.len(), before.len(), "the image keeps its length");
    assert!(!input.readonly || after == before, "the image is read-only");
    assert!(!after.starts_with(&MAGIC), "the image stays raw");
}

fn overlaps(gpa: u64, len: u32, canary: u64) -> bool {
    gpa < canary + CANARY_LEN && gpa.saturating_add(len.into()) > canary
}

fn header(kind: u32, sector: u64) -> [u8; 16] {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[8..].copy_from_slice(&sector.to_le_bytes());
    header
}

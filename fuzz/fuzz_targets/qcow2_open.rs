//! A file that says it is a qcow2 image: opened, read, written, discarded, flushed and closed. Nothing panics that is not
//! caught, every request comes back with a status that exists, memory stays bounded, an image that is read-only stays as it
//! is, and one that was in order to be written is so afterwards.
#![no_main]
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use devices::virtio::block::{Access, BlockDevice, BlockOptions, ImageType};
use devices::virtio::testing::{Buffers, Driver, Runner, activation};
use devices::virtio::{Features, VirtioDevice};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

// A panic of the image's library is an I/O error of a request by design, so it must not end the run in the hook that
// the fuzzer sets. A panic of anything else still does.
fuzz_target!(
    init: std::panic::set_hook(Box::new(|_| ())),
    |data: &[u8]| run(data)
);

fn run(data: &[u8]) {
    let Some((&[choice, ref patches @ ..], image)) = data.split_at_checked(9) else { return };
    let file = File::from(memfd_create("disk", MemfdFlags::CLOEXEC).expect("a memfd"));
    file.write_all_at(image, 0).expect("it takes the bytes");
    let readonly = choice & 1 != 0;
    let access = if readonly { Access::ReadOnly } else { Access::ReadWrite };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let image_type = Some(ImageType::Qcow2);
    let options =
        BlockOptions { access, image_type, queue_size: 16, ..BlockOptions::new("fuzz", path) };
    let Ok(device) = BlockDevice::open(options.clone()) else { return };
    let sectors = device.size() / 512;
    let mut driver = Driver::queues(1, 16).remove(0);
    let activated = device.activate(activation(std::slice::from_ref(&driver), Features(1 << 9)));
    let mut runner = Runner::start(activated.expect("it has its queue").remove(0)).expect("starts");
    for patch in patches {
        // The first sectors of the disk and its last ones.
        let near = u64::from(patch >> 3) * 7;
        let sector = if patch & 1 == 0 { near } else { sectors.saturating_sub(near + 8) };
        let (kind, payload, room) = match patch >> 1 & 3 {
            0 => (IN, vec![], 4096),
            1 => (OUT, vec![*patch; 4096], 0),
            2 if patch & 8 == 0 => (DISCARD, range(sector, 0), 0),
            2 => (WRITE_ZEROES, range(sector, u32::from(patch & 1)), 0),
            _ => (FLUSH, vec![], 0),
        };
        let mut bytes = Vec::new();
        bytes.extend(kind.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(sector.to_le_bytes());
        bytes.extend(payload);
        let sent = driver.send(&Buffers { readable: vec![&bytes], writable: vec![room, 1] });
        runner.step().and_then(|()| runner.drain()).expect("an image does not end the worker");
        assert_eq!(driver.used(), Some((sent.head, room + 1)));
        assert!(driver.read(sent.writable[1].0, 1)[0] <= 2, "a status");
    }
    drop((runner, device));
    if readonly {
        let mut after = Vec::new();
        (&file).take(1 << 30).read_to_end(&mut after).expect("its bytes");
        assert!(after == image, "the image is read-only");
    } else if let Err(error) = BlockDevice::open(options) {
        panic!("the image is not in order any more: {error}");
    }
}

fn range(sector: u64, flags: u32) -> Vec<u8> {
    let mut range = sector.to_le_bytes().to_vec();
    range.extend(8_u32.to_le_bytes());
    range.extend(flags.to_le_bytes());
    range
}

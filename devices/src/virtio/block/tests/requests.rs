//! Single requests, well-formed and not, with every engine.

use std::os::unix::fs::FileExt;

use super::*;
use crate::virtio::Malformed;
use crate::virtio::block::{Access, ImageType};

/// A raw disk of 64 sectors for each engine.
fn each(test: impl Fn(&mut Rig)) {
    for engine in ENGINES {
        test(&mut Rig::raw(64, |options| options.engine = engine));
    }
}

#[test]
fn what_is_written_is_in_the_image_and_is_read_back() {
    each(|rig| {
        let data = pattern(3 * SECTOR, 3);
        assert_eq!(rig.write(5, &data), OK);
        assert_eq!(rig.request(FLUSH, 0, &[], 0).0, OK);
        assert!(rig.read(5, data.len()) == data);
        let image = std::fs::read(rig.path()).unwrap();
        assert!(image[5 * SECTOR..8 * SECTOR] == data);
        assert_eq!(rig.counter("write_ops"), 1);
        assert_eq!(rig.counter("write_bytes"), 3 * 512);
        assert_eq!(rig.counter("read_ops"), 1);
        assert_eq!(rig.counter("read_bytes"), 3 * 512);
        assert_eq!(rig.counter("flush_ops"), 1);
        assert_eq!(rig.counter("errors"), 0);
        assert_eq!(rig.driver.interrupts.queues(), 3);
    });
}

#[test]
fn the_serial_number_is_the_id_or_what_was_chosen() {
    each(|rig| {
        let (status, serial) = rig.request(GET_ID, 0, &[], 20);
        assert_eq!((status, serial.as_slice()), (OK, &b"disk0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..]));
    });
    let mut rig = Rig::raw(1, |options| options.serial = Some("12345678901234567890".into()));
    assert_eq!(rig.request(GET_ID, 0, &[], 20), (OK, b"12345678901234567890".to_vec()));
    let too_long = BlockOptions { serial: Some("123456789012345678901".into()), ..options(&rig) };
    assert!(BlockDevice::open(too_long).is_err());
}

fn options(rig: &Rig) -> BlockOptions {
    BlockOptions::new("again", rig.path())
}

#[test]
fn what_is_not_on_the_disk_or_no_whole_sector_is_an_error() {
    each(|rig| {
        for (kind, sector, data, room) in [
            (IN, 64, 0, 512),
            (IN, 63, 0, 1024),
            (IN, u64::MAX, 0, 512),
            (IN, u64::MAX / 512, 0, 512),
            (IN, 0, 0, 100),
            (OUT, 64, 512, 0),
            (OUT, 63, 1024, 0),
            (OUT, u64::MAX, 512, 0),
            (OUT, 0, 511, 0),
        ] {
            let (status, _) = rig.request(kind, sector, &vec![7; data], room);
            assert_eq!(status, IO_ERROR, "{kind} at {sector}: {data} {room}");
        }
        assert_eq!(rig.counter("errors"), 9);
        assert!(std::fs::read(rig.path()).unwrap().iter().all(|byte| *byte == 0));
        // Nothing at all is no error, not even at the very end.
        assert_eq!(rig.request(IN, 64, &[], 0).0, OK);
        assert_eq!(rig.write(64, &[]), OK);
        assert_eq!(rig.request(3, 0, &[], 0).0, UNSUPPORTED);
    });
}

#[test]
fn zeroed_and_discarded_ranges_read_as_zeros_and_free_blocks_if_they_may() {
    each(|rig| {
        let full = vec![0xaa; 64 * SECTOR];
        for (kind, flags, frees) in
            [(WRITE_ZEROES, 0, false), (WRITE_ZEROES, 1, true), (DISCARD, 0, true)]
        {
            assert_eq!(rig.write(0, &full), OK);
            assert_eq!(rig.request(FLUSH, 0, &[], 0).0, OK);
            let before = allocated(&rig.path());
            assert_eq!(rig.request(kind, 0, &range(8, 40, flags), 0).0, OK);
            assert_eq!(rig.request(FLUSH, 0, &[], 0).0, OK);
            let data = rig.read(0, 64 * SECTOR);
            assert!(data[..8 * SECTOR].iter().all(|byte| *byte == 0xaa));
            assert!(data[8 * SECTOR..48 * SECTOR].iter().all(|byte| *byte == 0));
            assert!(data[48 * SECTOR..].iter().all(|byte| *byte == 0xaa));
            // 40 sectors from the eighth on are five pages.
            let freed = before - allocated(&rig.path()).min(before);
            assert_eq!(freed, if frees { 40 * 512 } else { 0 }, "{kind} {flags}");
        }
    });
}

#[test]
fn ranges_have_their_own_rules() {
    each(|rig| {
        assert_eq!(rig.write(0, &vec![1; 64 * SECTOR]), OK);
        let two = [range(0, 8, 0), range(16, 8, 0)].concat();
        let one_too_far = [range(0, 8, 0), range(60, 5, 0)].concat();
        let seventeen = range(0, 1, 0).repeat(17);
        for (kind, ranges, expected) in [
            (DISCARD, two.clone(), OK),
            (DISCARD, vec![], OK),
            (DISCARD, range(64, 0, 0).to_vec(), OK),
            (DISCARD, range(0, 8, 1).to_vec(), UNSUPPORTED),
            (DISCARD, range(0, 8, 2).to_vec(), UNSUPPORTED),
            (DISCARD, one_too_far, IO_ERROR),
            (DISCARD, seventeen, IO_ERROR),
            (DISCARD, vec![0; 15], IO_ERROR),
            (DISCARD, range(0, u32::MAX, 0).to_vec(), IO_ERROR),
            (DISCARD, range(u64::MAX, 1, 0).to_vec(), IO_ERROR),
            (WRITE_ZEROES, range(40, 8, 1).to_vec(), OK),
            (WRITE_ZEROES, range(0, 8, 3).to_vec(), UNSUPPORTED),
            (WRITE_ZEROES, two, IO_ERROR),
        ] {
            assert_eq!(rig.request(kind, 0, &ranges, 0).0, expected, "{kind} {ranges:?}");
        }
        let data = rig.read(0, 64 * SECTOR);
        for (sector, bytes) in data.chunks(SECTOR).enumerate() {
            let zero = matches!(sector, 0..8 | 16..24 | 40..48);
            assert!(bytes.iter().all(|byte| (*byte == 0) == zero), "sector {sector}");
        }
    });
}

#[test]
fn a_read_only_disk_is_read_and_nothing_else() {
    for engine in ENGINES {
        let mut rig = Rig::raw(64, |options| {
            std::fs::File::options()
                .write(true)
                .open(&options.path)
                .unwrap()
                .write_all_at(b"there", 0)
                .unwrap();
            options.engine = engine;
            options.access = Access::ReadOnly;
        });
        assert_eq!(rig.device.features() & (feature::RO | feature::DISCARD), feature::RO);
        assert_eq!(&rig.read(0, SECTOR)[..5], b"there");
        assert_eq!(rig.write(0, &[1; SECTOR]), IO_ERROR);
        assert_eq!(rig.request(DISCARD, 0, &range(0, 8, 0), 0).0, IO_ERROR);
        assert_eq!(rig.request(WRITE_ZEROES, 0, &range(0, 8, 0), 0).0, IO_ERROR);
        assert_eq!(rig.request(FLUSH, 0, &[], 0).0, OK);
        assert_eq!(&rig.read(0, SECTOR)[..5], b"there");
        assert!(rig.device.resize(512).is_err());
    }
}

#[test]
fn requests_without_their_shape_stop_the_worker() {
    for engine in ENGINES {
        let rig = || Rig::raw(64, |options| options.engine = engine);
        let shape = |error| matches!(error, WorkerError::Malformed(Malformed::Shape(_)));
        let whole = header(IN, 0);
        for buffers in [
            Buffers { readable: vec![&whole], writable: vec![] },
            Buffers { readable: vec![&whole[..15]], writable: vec![1] },
            Buffers { readable: vec![], writable: vec![513] },
        ] {
            let mut rig = rig();
            rig.driver.send(&buffers);
            assert!(shape(rig.failure()), "{buffers:?}");
        }
    }
}

#[test]
fn a_large_request_is_done_in_parts() {
    use crate::virtio::block::Caching;
    for engine in ENGINES {
        for caching in [Caching::Buffered, Caching::Direct] {
            let mut rig = Rig::raw(4096, |options| {
                options.engine = engine;
                options.caching = caching;
            });
            let data = pattern(700 * SECTOR, 509);
            assert_eq!(rig.write(1, &data), OK);
            assert!(rig.read(1, data.len()) == data, "{engine:?} {caching:?}");
        }
    }
}

#[test]
fn an_image_that_was_cut_off_gives_errors_and_the_worker_lives() {
    each(|rig| {
        let image = std::fs::File::options().write(true).open(rig.path()).unwrap();
        image.set_len(8 * 512).unwrap();
        assert_eq!(rig.request(IN, 8, &[], 512).0, IO_ERROR);
        assert_eq!(rig.request(IN, 7, &[], 1024).0, IO_ERROR);
        assert_eq!(rig.request(IN, 7, &[], 512).0, OK);
        assert_eq!(rig.counter("errors"), 2);
    });
}

#[test]
fn many_requests_at_once_use_a_slot_each() {
    for engine in ENGINES {
        let mut rig = Rig::raw(64, |options| {
            options.engine = engine;
            options.queue_size = 64;
        });
        for round in 0..20_u8 {
            let sent: Vec<_> = (0..21_u8)
                .map(|at| rig.send(OUT, at.into(), &[round + at; SECTOR], &[1]))
                .collect();
            let used = rig.collect(sent.len());
            assert_eq!(used.len(), sent.len());
            assert!(sent.iter().all(|one| rig.written(one) == [OK]));
        }
        let data = rig.read(0, 21 * SECTOR);
        for (at, bytes) in (19_u8..).zip(data.chunks(SECTOR)) {
            assert!(bytes.iter().all(|byte| *byte == at));
        }
    }
}

#[test]
fn without_flushes_a_write_is_safe_when_it_is_done() {
    let dir = TempDir::new().unwrap();
    for engine in ENGINES {
        let mut options = BlockOptions::new("disk0", raw_image(dir.path(), 64));
        options.engine = engine;
        let mut rig = Rig::negotiated(options, 0);
        assert_eq!(rig.write(3, &[9; SECTOR]), OK);
        assert_eq!(rig.request(WRITE_ZEROES, 0, &range(3, 1, 1), 0).0, OK);
        assert!(rig.read(3, SECTOR).iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_disk_grows_and_shrinks() {
    each(|rig| {
        assert_eq!(rig.request(IN, 64, &[], 512).0, IO_ERROR);
        rig.device.resize(128 * 512).unwrap();
        let mut capacity = [0; 8];
        rig.device.read_config(0, &mut capacity);
        assert_eq!(u64::from_le_bytes(capacity), 128);
        assert_eq!(rig.write(127, &[1; SECTOR]), OK);
        rig.device.resize(8 * 512).unwrap();
        assert_eq!(rig.request(IN, 8, &[], 512).0, IO_ERROR);
        assert_eq!(std::fs::metadata(rig.path()).unwrap().len(), 8 * 512);
        for len in [0, 100, 513] {
            assert!(rig.device.resize(len).is_err());
        }
        assert_eq!(rig.device.size(), 8 * 512);
    });
}

#[test]
fn the_configuration_is_as_the_specification_lays_it_out() {
    let rig = Rig::raw(64, |options| {
        options.num_queues = 4;
        options.queue_size = 16;
        options.image_type = Some(ImageType::Raw);
    });
    let mut config = [0xff; 64];
    rig.device.read_config(0, &mut config);
    let le = |at: usize, len: usize| {
        config[at..at + len].iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
    };
    assert_eq!(le(0, 8), 64, "capacity");
    assert_eq!(le(12, 4), 14, "seg_max");
    assert_eq!(le(20, 4), 512, "blk_size");
    assert_eq!((le(24, 1), le(25, 1), le(26, 2)), (3, 0, 8), "topology: pages of eight blocks");
    assert_eq!(le(32, 1), 1, "writeback");
    assert_eq!(le(34, 2), 4, "num_queues");
    assert_eq!((le(36, 4), le(40, 4), le(44, 4)), (1 << 22, 16, 8), "discard");
    assert_eq!((le(48, 4), le(52, 4), le(56, 1)), (1 << 18, 1, 1), "write zeroes");
    assert_eq!(le(60, 4), 0, "beyond the end");
    let mut odd = [0; 3];
    rig.device.read_config(21, &mut odd);
    assert_eq!(odd, [2, 0, 0]);
    rig.device.read_config(u64::MAX, &mut odd);
    assert_eq!(odd, [0; 3]);
    let features = rig.device.features();
    assert_eq!(features, 1 << 2 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 13 | 1 << 14);
    assert_eq!(rig.device.queue_sizes(), [16; 4]);
}

#[test]
fn zeros_are_written_where_the_file_system_knows_no_better_way() {
    use rustix::fs::{MemfdFlags, memfd_create};
    use std::os::fd::AsRawFd;
    for engine in ENGINES {
        // Files in memory give blocks up, but cannot zero them.
        let file = std::fs::File::from(memfd_create("disk", MemfdFlags::CLOEXEC).unwrap());
        file.write_all_at(&vec![0xee; 1024 * SECTOR], 0).unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let mut rig = Rig::open(BlockOptions { engine, ..BlockOptions::new("disk0", &path) });
        let full = allocated(&path);
        for (flags, freed) in [(0, 0), (1, 1000 * 512)] {
            assert_eq!(rig.request(WRITE_ZEROES, 0, &range(8, 1000, flags), 0).0, OK);
            let data = rig.read(0, 1024 * SECTOR);
            for (sector, bytes) in data.chunks(SECTOR).enumerate() {
                let expected = if (8..1008).contains(&sector) { 0 } else { 0xee };
                assert!(bytes.iter().all(|byte| *byte == expected), "sector {sector}");
            }
            assert_eq!(full - allocated(&path), freed);
        }
        assert_eq!(rig.counter("discard_ops"), 2);
    }
}

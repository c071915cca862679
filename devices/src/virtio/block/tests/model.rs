//! Random requests, several at a time and cut over descriptors at random, against a vector of bytes.

use std::process::Command;

use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use super::*;
use crate::virtio::block::{Caching, ImageType};

/// Requests in flight together work on parts of the disk of their own, since their order is not defined.
const PARTS: usize = 8;
const PART_SECTORS: usize = 96;
const SECTORS: usize = PARTS * PART_SECTORS;

#[derive(Clone, Debug)]
enum Op {
    Read,
    Write(u8),
    Discard,
    Zero {
        unmap: bool,
    },
    Flush,
    Identify,
    /// Reads across the end of the disk.
    Beyond,
    Unknown,
}

#[derive(Clone, Debug)]
struct Step {
    op: Op,
    start: Index,
    len: Index,
    cuts: Vec<Index>,
}

fn step() -> impl Strategy<Value = Step> {
    let op = prop_oneof![
        4 => Just(Op::Read),
        4 => any::<u8>().prop_map(Op::Write),
        1 => Just(Op::Discard),
        1 => any::<bool>().prop_map(|unmap| Op::Zero { unmap }),
        1 => Just(Op::Flush),
        1 => Just(Op::Identify),
        1 => Just(Op::Beyond),
        1 => Just(Op::Unknown),
    ];
    let cuts = proptest::collection::vec(any::<Index>(), 0..3);
    (op, any::<Index>(), any::<Index>(), cuts).prop_map(|(op, start, len, cuts)| Step {
        op,
        start,
        len,
        cuts,
    })
}

fn batches() -> impl Strategy<Value = Vec<Vec<Step>>> {
    proptest::collection::vec(proptest::collection::vec(step(), 1..=PARTS), 1..6)
}

/// Cuts a number of bytes into pieces, none of them empty.
fn cut(len: usize, cuts: &[Index]) -> Vec<usize> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(len)).collect();
    places.extend([0, len]);
    places.sort_unstable();
    places.dedup();
    places.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

struct Expected {
    sent: Sent,
    status: u8,
    data: Option<Vec<u8>>,
    room: u32,
}

/// Makes one request available, and changes the model as it should change the disk.
fn send(rig: &mut Rig, model: &mut [u8], part: usize, step: &Step) -> Expected {
    let first = step.start.index(PART_SECTORS);
    let sectors = 1 + step.len.index(PART_SECTORS - first);
    let sector = part * PART_SECTORS + first;
    let bytes = sector * SECTOR..(sector + sectors) * SECTOR;
    let place = sector as u64;
    let a_range = |flags| range(place, u32::try_from(sectors).unwrap(), flags).to_vec();
    let (kind, at, payload, room, status) = match step.op {
        Op::Read => (IN, place, vec![], bytes.len(), OK),
        Op::Write(seed) => {
            let mut data = pattern(bytes.len(), 7);
            for byte in &mut data {
                *byte = byte.wrapping_add(seed);
            }
            (OUT, place, data, 0, OK)
        }
        Op::Discard => (DISCARD, 0, a_range(0), 0, OK),
        Op::Zero { unmap } => (WRITE_ZEROES, 0, a_range(unmap.into()), 0, OK),
        Op::Flush => (FLUSH, 0, vec![], 0, OK),
        Op::Identify => (GET_ID, 0, vec![], 20, OK),
        Op::Beyond => (IN, (SECTORS - sectors + 1) as u64, vec![], bytes.len(), IO_ERROR),
        Op::Unknown => (99, 0, vec![], 0, UNSUPPORTED),
    };
    let data = match step.op {
        Op::Read => Some(model[bytes.clone()].to_vec()),
        Op::Identify => Some(b"disk0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
        _ => None,
    };
    match step.op {
        Op::Write(_) => model[bytes].copy_from_slice(&payload),
        // A discard leaves anything behind by the specification; these images read as zeros.
        Op::Discard | Op::Zero { .. } => model[bytes].fill(0),
        _ => {}
    }
    let mut readable = header(kind, at).to_vec();
    readable.extend(payload);
    let mut pieces = Vec::new();
    let mut rest = readable.as_slice();
    for len in cut(readable.len(), &step.cuts) {
        let (piece, behind) = rest.split_at(len);
        pieces.push(piece);
        rest = behind;
    }
    let writable = cut(room + 1, &step.cuts);
    let writable = writable.into_iter().map(|len| u32::try_from(len).unwrap()).collect();
    let sent = rig.driver.send(&Buffers { readable: pieces, writable });
    Expected { sent, status, data, room: u32::try_from(room).unwrap() }
}

fn run(mut rig: Rig, batches: &[Vec<Step>]) {
    let mut model = vec![0; SECTORS * SECTOR];
    for (number, batch) in batches.iter().enumerate() {
        let expected: Vec<_> = batch
            .iter()
            .enumerate()
            .map(|(place, step)| send(&mut rig, &mut model, (place + number) % PARTS, step))
            .collect();
        // Some batches are waited for by a drain, as a pause does.
        if number % 3 == 2 {
            rig.runner.step().unwrap();
            rig.runner.drain().unwrap();
        }
        let mut used = rig.collect(batch.len());
        used.sort_unstable();
        let mut heads: Vec<_> = expected.iter().map(|one| (one.sent.head, one.room + 1)).collect();
        heads.sort_unstable();
        assert_eq!(used, heads, "each comes back once");
        for (expected, step) in expected.iter().zip(batch) {
            let mut written = rig.written(&expected.sent);
            assert_eq!(written.pop(), Some(expected.status), "{step:?}");
            if let Some(data) = &expected.data {
                assert!(&written == data, "{step:?} reads what was written");
            }
        }
    }
    assert!(rig.read(0, SECTORS * SECTOR) == model, "the disk is what it should be");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn raw_disks_keep_what_is_written(batches in batches(), engine in 0..2_usize, direct in any::<bool>()) {
        let caching = if direct { Caching::Direct } else { Caching::Buffered };
        run(Rig::raw(SECTORS, |options| {
            options.engine = ENGINES[engine];
            options.caching = caching;
            options.image_type = Some(ImageType::Raw);
        }), &batches);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn qcow2_disks_keep_what_is_written(batches in batches()) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("disk.qcow2");
        super::qcow2::create(&path, (SECTORS * SECTOR) as u64);
        run(Rig::open(BlockOptions::new("disk0", &path)), &batches);
        super::qcow2::check(&path);
        let copy = dir.path().join("copy.raw");
        if super::qcow2::qemu_img() {
            let converted = Command::new("qemu-img")
                .args(["convert", "-O", "raw"]).arg(&path).arg(&copy).status().unwrap();
            prop_assert!(converted.success());
            prop_assert_eq!(std::fs::metadata(&copy).unwrap().len(), (SECTORS * SECTOR) as u64);
        }
    }
}

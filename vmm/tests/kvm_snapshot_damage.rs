//! The state of a real VM, with one thing wrong in it: whatever unit is missing, cut, longer, twice there or of another version is named
//! by the error, and no VM is left. Damage that no checksum was made right for is named by its file.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use std::fs::File;
use std::path::Path;

use embedded::TestVm;
use embedded::driver::DriverVm;
use migration::memory::{FileMemory, Layout, PAGE_SIZE, PageSet, Region};
use migration::snapshot::{HostStorage, SnapshotId, SnapshotWriter};
use vmm::config::{DiskConfig, RngConfig, SnapshotConfig, VmConfig};
use vmm::control::{ControlError, VmmControl};

/// Bytes before the first unit; in front of each (`docs/migration.md`).
const STREAM_HEADER: usize = 20;
const UNIT_HEADER: usize = 16;

#[derive(Clone)]
struct Saved {
    name: String,
    version: u16,
    payload: Vec<u8>,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> usize {
    bytes[at..at + N].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

fn units(stream: &[u8]) -> Vec<Saved> {
    let mut at = STREAM_HEADER;
    let units = (0..number::<4>(stream, 12)).map(|_| {
        let (name, payload) = (number::<2>(stream, at + 6), number::<4>(stream, at + 8));
        let version = u16::try_from(number::<2>(stream, at + 4)).unwrap();
        let begin = at + UNIT_HEADER + name;
        let unit = Saved {
            name: String::from_utf8(stream[at + UNIT_HEADER..begin].to_vec()).unwrap(),
            version,
            payload: stream[begin..begin + payload].to_vec(),
        };
        at = begin + payload;
        unit
    });
    let units = units.collect();
    assert_eq!(at, stream.len());
    units
}

/// The stream of these units, every checksum right.
fn stream(units: &[Saved]) -> Vec<u8> {
    let mut bytes = b"STILLPT\0".to_vec();
    bytes.extend([1, 0, 0, 0]);
    bytes.extend(u32::try_from(units.len()).unwrap().to_le_bytes());
    bytes.extend([0; 4]);
    for unit in units {
        bytes.extend(b"UNIT");
        bytes.extend(unit.version.to_le_bytes());
        bytes.extend(u16::try_from(unit.name.len()).unwrap().to_le_bytes());
        bytes.extend(u32::try_from(unit.payload.len()).unwrap().to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(unit.name.as_bytes());
        bytes.extend(&unit.payload);
    }
    migration::testing::reseal(&mut bytes);
    bytes
}

/// A snapshot of a VM with devices, in the directory of the VM that is given back.
fn saved() -> (DriverVm, std::path::PathBuf) {
    let guest = DriverVm::boot(2, |config: &mut VmConfig| {
        config.rng = Some(RngConfig::default());
        config.watchdog = true;
    });
    let image = guest.vm.path("disk");
    File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let disk = DiskConfig { id: Some("disk".to_owned()), ..DiskConfig::of_path(&image) };
    guest.vm.vmm.add_disk(disk).unwrap();
    guest.vm.vmm.pause().unwrap();
    let path = guest.vm.path("snapshot");
    let destination_url = format!("file://{}", path.display());
    let config = SnapshotConfig { destination_url, live: false, base_url: None };
    guest.vm.vmm.snapshot(config).unwrap();
    // Its disk is the restored one's.
    guest.vm.vmm.delete().unwrap();
    (guest, path)
}

fn restore(vm: &TestVm, path: &Path) -> Result<(), ControlError> {
    let source_url = format!("file://{}", path.display());
    let config = serde_json::json!({"source_url": source_url, "resume": false});
    vm.vmm.restore(serde_json::from_value(config).unwrap())
}

/// The error of a restore, after which there is no VM.
fn refused(vm: &TestVm, path: &Path) -> String {
    let error = restore(vm, path).unwrap_err().to_string();
    assert!(matches!(vm.vmm.info(), Err(ControlError::NotCreated)));
    error
}

#[test]
fn a_unit_of_a_real_vm_that_is_wrong_in_any_way_is_named() {
    let (guest, path) = saved();
    let config = std::fs::read(path.join("config.json")).unwrap();
    let good = units(&std::fs::read(path.join("state")).unwrap());
    assert!(good.len() > 10, "{} units", good.len());
    let pages = std::fs::metadata(path.join("memory")).unwrap().len() / PAGE_SIZE as u64;
    let layout = Layout::new(vec![Region { gpa: 0, pages }]).unwrap();
    // Nothing of it is looked at before the state is right.
    let memory = File::create_new(guest.vm.path("zeros")).unwrap();
    memory.set_len(pages * PAGE_SIZE as u64).unwrap();
    let memory = File::options()
        .read(true)
        .write(true)
        .open(guest.vm.path("zeros"))
        .map(|file| FileMemory::new(file, layout.clone()).unwrap());
    let memory = memory.unwrap();
    let none = TestVm::none_yet(2);
    let mut count = 0;
    let mut attempt = |units: &[Saved]| {
        count += 1;
        let path = guest.vm.path(&format!("wrong-{count}"));
        let id = SnapshotId::random().unwrap();
        let writer = SnapshotWriter::create(&HostStorage, &path, id, &layout, &config, None);
        let mut writer = writer.unwrap();
        writer.copy(&memory, &PageSet::all(&layout)).unwrap();
        writer.finish(&stream(units)).unwrap();
        let error = refused(&none, &path);
        std::fs::remove_dir_all(path).unwrap();
        error
    };
    for (index, unit) in good.iter().enumerate() {
        let with = |change: &dyn Fn(&mut Vec<Saved>)| {
            let mut units = good.clone();
            change(&mut units);
            units
        };
        let wrong: [(&str, Vec<Saved>); 5] = [
            ("missing", with(&|units| drop(units.remove(index)))),
            (
                "cut",
                with(&|units| units[index].payload.truncate(unit.payload.len().saturating_sub(1))),
            ),
            ("longer", with(&|units| units[index].payload.push(0))),
            ("twice", with(&|units| units.push(unit.clone()))),
            ("another version", with(&|units| units[index].version += 1)),
        ];
        for (what, units) in wrong {
            if what == "cut" && unit.payload.is_empty() {
                continue;
            }
            let error = attempt(&units);
            assert!(error.contains(&unit.name), "{} {what}: {error}", unit.name);
        }
    }
    let foreign = Saved { name: "flux-capacitor/1".to_owned(), version: 1, payload: vec![] };
    let error = attempt(&[good.as_slice(), &[foreign]].concat());
    assert!(error.contains("flux-capacitor/1"), "{error}");
    // What was taken apart is put together again as it was.
    assert!(stream(&good) == std::fs::read(path.join("state")).unwrap());
    restore(&none, &path).unwrap();
}

#[test]
fn a_file_that_is_cut_or_changed_at_any_units_border_is_named() {
    let (_guest, path) = saved();
    let file = path.join("state");
    let whole = std::fs::read(&file).unwrap();
    let mut borders = vec![0, STREAM_HEADER - 1];
    let mut at = STREAM_HEADER;
    for unit in units(&whole) {
        let payload = at + UNIT_HEADER + unit.name.len();
        borders.extend([at, at + UNIT_HEADER, payload, payload + unit.payload.len() - 1]);
        at = payload + unit.payload.len();
    }
    let none = TestVm::none_yet(2);
    for at in borders {
        for (what, bytes) in [("cut", whole[..at].to_vec()), ("changed", flipped(&whole, at))] {
            std::fs::write(&file, bytes).unwrap();
            let error = refused(&none, &path);
            assert!(error.contains("/state "), "{what} at {at}: {error}");
        }
    }
    std::fs::write(&file, &whole).unwrap();
    restore(&none, &path).unwrap();
}

fn flipped(whole: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    bytes[at] ^= 0x10;
    bytes
}

//! The dirty log on real KVM: whatever a guest and its devices write between two copies is in it, and nothing that they never touch.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use embedded::TestVm;
use embedded::driver::DriverVm;
use migration::memory::{Layout, PAGE_SIZE, PageSet, Run, SourceMemory};
use stillpoint_guest::driver::{ARENA_SIZE, ARENAS, Command, HOT, OUTCOME_DONE, Pattern};
use vcpu_state::Deadline;
use vm_memory::{Bytes, GuestAddress};
use vmm::config::{DiskConfig, HotplugMethod, MEMORY_DEVICE};
use vmm::control::VmmControl;
use vmm::memory::MigrationMemory;
use vmm::vm::{DirtyLog, LiveMemory};

const PAGE: u64 = PAGE_SIZE as u64;
const NONE: [u64; 0] = [];
const NEVER_LONGER: Deadline = Deadline::After(embedded::HANG);

/// Where the tiny guests are told what to do: first address, pages, value, whether it is to be done.
const ORDERS: u64 = 0x70_0000;
/// The pages that they write.
const FIELD: u64 = 0x80_0000;
const FIELD_PAGES: u64 = 2048;

/// Writes a value to the first word of each of so many pages when it is told to, over and over.
#[rustfmt::skip]
const WRITE_WHEN_TOLD: &[u8] = &[
    0x83, 0x3C, 0x25, 0x18, 0x00, 0x70, 0x00, 0x00, // top: cmp dword [ORDERS + 24], 0
    0x74, 0xF6,                                     // je top
    0x48, 0x8B, 0x04, 0x25, 0x00, 0x00, 0x70, 0x00, // mov rax, [ORDERS]
    0x48, 0x8B, 0x0C, 0x25, 0x08, 0x00, 0x70, 0x00, // mov rcx, [ORDERS + 8]
    0x48, 0x8B, 0x14, 0x25, 0x10, 0x00, 0x70, 0x00, // mov rdx, [ORDERS + 16]
    0x48, 0x89, 0x10,                               // next: mov [rax], rdx
    0x48, 0x05, 0x00, 0x10, 0x00, 0x00,             // add rax, 1000h
    0x48, 0xFF, 0xC9,                               // dec rcx
    0x75, 0xF2,                                     // jnz next
    0xC7, 0x04, 0x25, 0x18, 0x00, 0x70, 0x00,       // mov dword [ORDERS + 24], 0
    0x00, 0x00, 0x00, 0x00,
    0xEB, 0xC3,                                     // jmp top
];

/// Writes pages of the field at random, for ever.
#[rustfmt::skip]
const WRITE_AT_RANDOM: &[u8] = &[
    0x41, 0xB8, 0x39, 0x30, 0x00, 0x00,       // mov r8d, 12345
    0x45, 0x69, 0xC0, 0x6D, 0x4E, 0xC6, 0x41, // next: imul r8d, r8d, 1103515245
    0x41, 0x81, 0xC0, 0x39, 0x30, 0x00, 0x00, // add r8d, 12345
    0x44, 0x89, 0xC0,                         // mov eax, r8d
    0xC1, 0xE8, 0x0C,                         // shr eax, 12
    0x25, 0xFF, 0x07, 0x00, 0x00,             // and eax, FIELD_PAGES - 1
    0xC1, 0xE0, 0x0C,                         // shl eax, 12
    0x05, 0x00, 0x00, 0x80, 0x00,             // add eax, FIELD
    0x44, 0x89, 0x00,                         // mov [rax], r8d
    0xEB, 0xDA,                               // jmp next
];

/// A copy of a VM's memory that is kept up by its dirty log.
struct Copy {
    memory: MigrationMemory,
    bytes: Vec<u8>,
    /// Every page that a log has told of.
    told: PageSet,
}

impl Copy {
    /// All of it as it is now.
    fn of(live: &LiveMemory) -> Self {
        let memory = live.pages().unwrap();
        let bytes = vec![0; usize::try_from(memory.layout().bytes()).unwrap()];
        let told = PageSet::empty(memory.layout());
        let mut copy = Self { memory, bytes, told };
        copy.copy(&PageSet::all(&copy.layout()));
        copy
    }

    fn layout(&self) -> Layout {
        self.memory.layout().clone()
    }

    fn copy(&mut self, pages: &PageSet) {
        for run in pages.runs() {
            let (from, len) = (run.offset(), run.bytes());
            let [from, len] = [from, len].map(|bytes| usize::try_from(bytes).unwrap());
            self.memory.read(run.first(), &mut self.bytes[from..from + len]).unwrap();
        }
    }

    fn follow(&mut self, pages: &PageSet) {
        self.told.add_all(pages);
        self.copy(pages);
    }

    /// The pages of the memory that are not as in the copy.
    fn differing(&self) -> Vec<u64> {
        let mut page = [0; PAGE_SIZE];
        let pages = (0..).zip(self.bytes.chunks(PAGE_SIZE));
        let differs = |(number, bytes): &(u64, &[u8])| {
            self.memory.read(*number, &mut page).unwrap();
            page != **bytes
        };
        pages.filter(differs).map(|(number, _)| number).collect()
    }
}

/// Lets the copy follow the VM for some rounds, then to its still point; there it has to be the VM's memory.
fn follow_to_the_end(vm: &TestVm, copy: &mut Copy, log: &mut DirtyLog, mut between: impl FnMut()) {
    for _ in 0..20 {
        between();
        copy.follow(&log.collect().unwrap());
    }
    let still = vm.vmm.stillness().unwrap().reach(NEVER_LONGER).unwrap();
    copy.follow(&log.last(&still).unwrap());
    assert_eq!(copy.differing(), NONE, "pages that nobody told of");
    drop(still);
}

fn store(vm: &TestVm, at: u64, value: u64) {
    vm.machine().ram.memory().write_obj(value, GuestAddress(at)).unwrap();
}

fn order(vm: &TestVm, first: u64, pages: u64, value: u64) {
    for (place, value) in (0..).zip([first, pages, value, 1]) {
        store(vm, ORDERS + 8 * place, value);
    }
    let done = |vm: &TestVm| {
        let left: u64 = vm.machine().ram.memory().read_obj(GuestAddress(ORDERS + 24)).unwrap();
        left == 0
    };
    vm.await_that("the guest's writes", done);
}

#[test]
fn the_pages_that_a_vcpu_writes_and_no_others_are_told_once() {
    let vm = TestVm::tiny(WRITE_WHEN_TOLD);
    vm.vmm.boot().unwrap();
    let live = vm.vmm.live_memory().unwrap();
    order(&vm, FIELD, 10, 1);
    let mut log = live.start_log().unwrap();
    let memory = live.pages().unwrap();
    let of_the_field = |pages: &PageSet| {
        let runs = pages.runs().map(|run| (run.first(), run.count()));
        // Orders are written by the test and answered by the guest; in tables in low memory processors note what they used.
        runs.filter(|(first, _)| *first > ORDERS / PAGE).collect::<Vec<_>>()
    };
    // Those that were written, by whom and when it may have been, before the log was there.
    let _ = log.collect().unwrap();
    assert_eq!(of_the_field(&log.collect().unwrap()), []);
    for (first, count) in [(0, 1), (63, 3), (100, 500), (100, 500), (FIELD_PAGES - 1, 1)] {
        order(&vm, FIELD + first * PAGE, count, 2);
        let pages = log.collect().unwrap();
        assert_eq!(of_the_field(&pages), [(FIELD / PAGE + first, count)]);
        assert!(pages.contains(ORDERS / PAGE));
        assert!(!pages.contains(memory.layout().pages() - 1));
    }
    // The VMM's own writes, which KVM does not see.
    store(&vm, FIELD + 77 * PAGE + 4092, 3);
    assert_eq!(of_the_field(&log.collect().unwrap()), [(FIELD / PAGE + 77, 2)]);
    // What is noted when the VM stands still is noted still when it goes on after all.
    order(&vm, FIELD + 5 * PAGE, 2, 4);
    let still = vm.vmm.stillness().unwrap().reach(NEVER_LONGER).unwrap();
    let last = log.last(&still).unwrap();
    assert_eq!(of_the_field(&last), [(FIELD / PAGE + 5, 2)]);
    drop(still);
    order(&vm, FIELD + 9 * PAGE, 1, 5);
    let next = log.collect().unwrap();
    assert!(next.contains(FIELD / PAGE + 9));
    assert_eq!(of_the_field(&log.collect().unwrap()), []);
}

#[test]
fn there_is_one_log_at_a_time_and_another_after_it() {
    let vm = TestVm::tiny(WRITE_WHEN_TOLD);
    vm.vmm.boot().unwrap();
    let live = vm.vmm.live_memory().unwrap();
    for _ in 0..3 {
        let mut log = live.start_log().unwrap();
        let error = live.start_log().unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
        let _ = log.collect().unwrap();
        order(&vm, FIELD, 3, 1);
        let pages = log.collect().unwrap();
        assert!((0..3).all(|page| pages.contains(FIELD / PAGE + page)));
    }
    order(&vm, FIELD, 3, 1);
}

#[test]
fn a_copy_that_follows_the_log_is_the_memory_when_the_vm_stands_still() {
    let vm = TestVm::tiny(WRITE_AT_RANDOM);
    vm.vmm.boot().unwrap();
    let live = vm.vmm.live_memory().unwrap();
    let mut log = live.start_log().unwrap();
    let mut copy = Copy::of(&live);
    let mut at = 1;
    follow_to_the_end(&vm, &mut copy, &mut log, || {
        for _ in 0..50 {
            at = (at * 75 + 74) % 65537;
            store(&vm, FIELD + at % FIELD_PAGES * PAGE + 8, at);
        }
    });
    // In tables in low memory processors note what they used.
    let field = FIELD / PAGE..FIELD / PAGE + FIELD_PAGES;
    let outside = copy.told.runs().filter(|run| run.first() > 256 && !field.contains(&run.first()));
    assert_eq!(outside.map(Run::first).collect::<Vec<_>>(), NONE);
}

#[test]
fn a_copy_keeps_up_with_disks_and_plugged_memory() {
    for via_ring in [true, false] {
        let image = tempfile::NamedTempFile::new().unwrap();
        let sectors: u64 = 16 << 11;
        let data: Vec<u8> = (0..sectors * 512).map(|at| (at / 7 % 251) as u8).collect();
        std::fs::write(image.path(), data).unwrap();
        let mut guest = DriverVm::boot(3, |config| {
            let mut disk = DiskConfig::of_path(image.path());
            disk.disable_io_uring = !via_ring;
            config.disks.push(disk);
            config.memory.hotplug_method = HotplugMethod::VirtioMem;
            config.memory.hotplug_size = Some(128 << 20);
            config.memory.hotplugged_size = Some(64 << 20);
        });
        let tree = guest.vm.vmm.info().unwrap().device_tree;
        let slot = |id: &str| u64::from(tree[id].pci_bdf.unwrap().device);
        let disk = slot("_disk0");
        let plugged = guest.run(2, Command::Memory, &[slot(MEMORY_DEVICE), 0, HOT, 8]);
        assert_eq!(plugged[..2], [OUTCOME_DONE, 0]);
        let live = guest.vm.vmm.live_memory().unwrap();
        let mut log = live.start_log().unwrap();
        let mut copy = Copy::of(&live);
        let mut seed = 1;
        let pattern = Pattern::RandomRead as u64;
        let mut reads = 0;
        guest.begin(1, Command::Fill, &[HOT, 16 << 20, seed]);
        for _ in 0..20 {
            seed += 1;
            let results =
                guest.run(0, Command::Block, &[disk, 100, 8192, 8, sectors, pattern, seed]);
            assert_eq!(results[0], OUTCOME_DONE);
            reads += results[1];
            if guest.is_done(1) {
                guest.begin(1, Command::Fill, &[HOT, 16 << 20, seed]);
            }
            copy.follow(&log.collect().unwrap());
        }
        assert!(reads >= 2000);
        guest.begin(0, Command::Block, &[disk, 4000, 8192, 8, sectors, pattern, seed]);
        let still = guest.vm.vmm.stillness().unwrap().reach(NEVER_LONGER).unwrap();
        copy.follow(&log.last(&still).unwrap());
        assert_eq!(copy.differing(), NONE, "pages that nobody told of");
        drop(still);
        // The third vCPU has nothing to do, and nobody else is in its area; the last one's belongs to no vCPU.
        let unused = (ARENAS + 31 * ARENA_SIZE) / PAGE;
        assert!((unused..unused + ARENA_SIZE / PAGE).all(|page| !copy.told.contains(page)));
        guest.end(0);
        guest.end(1);
    }
}

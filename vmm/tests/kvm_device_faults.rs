//! Devices whose activation is slow, fails or panics: nobody waits for it but the vCPU that asked, and that one only until a
//! pause or the end.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use devices::virtio::{Activation, ActivationError, DeviceType, VirtioDevice, Worker};
use embedded::driver::DriverVm;
use stillpoint_guest::driver::{Command, OUTCOME_DONE, OUTCOME_NEEDS_RESET};
use vcpu_state::sync::FutexWord;
use vcpu_state::{Deadline, Word};
use vmm::control::{VmmControl, VmmOptions};

/// Guest vCPUs, and those of them that wait in an activation.
const VCPUS: usize = 32;
const WAITING: usize = 4;
/// Pauses of one kind before the other kind's turn, and turns.
const PAUSES: usize = 3;
const TURNS: usize = 10;
/// Virtio device status (virtio 1.2, 2.1).
const NEEDS_RESET: u64 = 64;

/// What an activation comes to.
enum Fault {
    /// It lasts until the gate is open.
    Slow(Arc<Gate>),
    /// The first one fails.
    Fails,
    /// The first one panics.
    Panics,
}

/// Holds activations.
struct Gate {
    /// 1: open.
    open: FutexWord,
    inside: AtomicU64,
}

impl Gate {
    fn closed() -> Arc<Self> {
        Arc::new(Self { open: FutexWord::new(0), inside: AtomicU64::new(0) })
    }

    fn pass(&self) {
        self.inside.fetch_add(1, Ordering::SeqCst);
        while self.open.load() == 0 {
            self.open.wait(0, None);
        }
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    fn open(&self) {
        self.open.advance();
    }

    fn close(&self) {
        self.open.sub(self.open.load());
    }

    fn somebody_inside(&self) -> bool {
        self.inside.load(Ordering::SeqCst) > 0
    }
}

struct Faulty {
    name: String,
    fault: Fault,
    activations: AtomicU64,
}

impl Faulty {
    fn shared(name: String, fault: Fault) -> Arc<dyn VirtioDevice> {
        Arc::new(Self { name, fault, activations: AtomicU64::new(0) })
    }
}

impl VirtioDevice for Faulty {
    fn name(&self) -> &str {
        &self.name
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Rng
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[16]
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn activate(&self, _: Activation) -> Result<Vec<Box<dyn Worker>>, ActivationError> {
        let first = self.activations.fetch_add(1, Ordering::SeqCst) == 0;
        match &self.fault {
            Fault::Slow(gate) => gate.pass(),
            Fault::Fails if first => return Err(ActivationError::MissingQueue(7)),
            Fault::Panics if first => panic!("a device's code that panics, for a test"),
            Fault::Fails | Fault::Panics => {}
        }
        Ok(Vec::new())
    }
}

fn boot(vcpus: usize, devices: Vec<Arc<dyn VirtioDevice>>) -> (DriverVm, Vec<u64>) {
    let options = VmmOptions { devices, ..VmmOptions::default() };
    let mut guest = DriverVm::with_options(u32::try_from(vcpus).unwrap(), |_| {}, options);
    let found = guest.run(0, Command::Probe, &[]);
    let slots = found[2..].iter().filter(|one| **one != 0).map(|one| one >> 16);
    let slots = slots.collect();
    (guest, slots)
}

/// How many vCPUs wait in an activation.
fn waiting(guest: &DriverVm) -> usize {
    let group = guest.vm.vmm.group().unwrap();
    group.words().filter(|word| word.any(Word::ACTIVATION_PENDING)).count()
}

/// Has the last vCPUs activate a device each, which none of them comes to the end of.
fn wait_in_activations(guest: &mut DriverVm, slots: &[u64], gate: &Gate) {
    for (vcpu, slot) in (VCPUS - WAITING..).zip(slots) {
        guest.begin(vcpu, Command::Activate, &[*slot]);
    }
    embedded::until(
        "vCPUs that wait in activations",
        || waiting(guest) == WAITING && gate.somebody_inside(),
        || format!("{:?}", guest.vm.vmm.info()),
    );
}

fn pauses(guest: &DriverVm) -> Vec<Duration> {
    let vmm = &guest.vm.vmm;
    let one = || {
        let begun = Instant::now();
        vmm.pause().unwrap();
        let latency = begun.elapsed();
        drop(vmm.resume().unwrap());
        // The next pause meets a guest that runs.
        vmm.wait_in_guest(Deadline::After(embedded::HANG)).unwrap();
        latency
    };
    (0..PAUSES).map(|_| one()).collect()
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|one, other| one.partial_cmp(other).unwrap());
    values[values.len() / 2]
}

#[test]
fn four_of_32_vcpus_in_an_activation_without_end_delay_no_pause_and_not_the_end() {
    let gate = Gate::closed();
    let slow = |number| Faulty::shared(format!("slow{number}"), Fault::Slow(Arc::clone(&gate)));
    let (mut guest, slots) = boot(VCPUS, (0..WAITING).map(slow).collect());
    let mut ratios = Vec::new();
    for _ in 0..TURNS {
        // Each turn is compared with itself: what else the machine does changes between turns more than within one.
        let without = median(pauses(&guest));
        wait_in_activations(&mut guest, &slots, &gate);
        ratios.push(median(pauses(&guest)).div_duration_f64(without));
        assert_eq!(waiting(&guest), WAITING, "after the pauses each waits on");
        gate.open();
        for vcpu in VCPUS - WAITING..VCPUS {
            assert_eq!(guest.end(vcpu)[0], OUTCOME_DONE);
        }
        gate.close();
    }
    let ratio = median(ratios.clone());
    assert!(
        ratio <= 2.0,
        "{ratio}: pauses with vCPUs in an activation to those without, by turns {ratios:?}"
    );

    // Returns while the device's code does not.
    wait_in_activations(&mut guest, &slots, &gate);
    guest.vm.vmm.shutdown().unwrap();
    assert!(gate.somebody_inside());
    gate.open();
}

#[test]
fn an_activation_that_fails_or_panics_is_the_drivers_to_repair_and_the_vm_goes_on() {
    let devices = vec![
        Faulty::shared("fails".to_owned(), Fault::Fails),
        Faulty::shared("panics".to_owned(), Fault::Panics),
    ];
    let (mut guest, slots) = boot(2, devices);
    for (vcpu, slot) in slots.iter().enumerate() {
        let results = guest.run(vcpu, Command::Activate, &[*slot]);
        assert_eq!(results[0], OUTCOME_NEEDS_RESET, "{results:?}");
        assert_eq!(results[1] & NEEDS_RESET, NEEDS_RESET, "{results:?}");
        guest.vm.vmm.pause().unwrap();
        drop(guest.vm.vmm.resume().unwrap());
        // A reset repairs it.
        let results = guest.run(vcpu, Command::Activate, &[*slot]);
        assert_eq!((results[0], results[1] & NEEDS_RESET), (OUTCOME_DONE, 0), "{results:?}");
    }
    for id in ["fails", "panics"] {
        let counted = ["activations", "failures"].map(|name| guest.vm.counter(id, name));
        assert_eq!(counted, [1, 1], "{id}");
    }
    guest.vm.vmm.shutdown().unwrap();
}

//! State that is damaged, or another machine's: an error that says what, nothing has changed, and nothing panics.

use proptest::prelude::*;

use super::*;
use crate::saved::Unfit;
use crate::virtio::testing::{TestDevice, Working};
use crate::virtio::{QueueFault, QueueState};

fn machine() -> Machine {
    let device = TestDevice::new(2, 8, Working::Serves);
    Machine::new(Arc::new(device), Driver::queues(2, 8))
}

fn saved() -> SavedVirtioPci {
    let mut machine = machine();
    machine.start(Features::RING_RESET);
    let still = machine.pause();
    let saved = machine.function.save();
    drop(still);
    saved
}

#[test]
fn what_does_not_fit_is_named_and_nothing_has_changed() {
    type Damage = (fn(&mut SavedVirtioPci), &'static str);
    let damages: [Damage; 16] = [
        (|saved| saved.registers.queues[1].size = 6, "queue 1: a ring cannot have 6 descriptors"),
        (|saved| saved.registers.queues[0].size = 16, "queue 0: a ring cannot have 16 descriptors"),
        (
            |saved| saved.registers.queues[0].device = 1 << 40,
            "queue 0: Device at 0x10000000000 is not in RAM",
        ),
        (
            |saved| saved.registers.queues[0].descriptors = 8,
            "queue 0: Descriptors at 0x8 is not aligned",
        ),
        (|saved| saved.registers.queues[0].driver = 0, "queue 0: Driver has no address"),
        (
            |saved| saved.registers.queues[1].used = 3,
            "next available and next used index cannot be (0, 3)",
        ),
        (
            |saved| saved.registers.queues[1].max = 16,
            "the size of the longest ring is 8 here, and was 16",
        ),
        (|saved| saved.registers.queues.truncate(1), "the number of queues is 2 here, and was 1"),
        (
            |saved| saved.registers.accepted |= 1 << 23,
            "the driver uses feature bits 0x800000, which are not offered here",
        ),
        (|saved| saved.registers.accepted = 0, "a driver's features cannot be 0"),
        (|saved| saved.registers.device_type = 2, "the device type is 4 here, and was 2"),
        (|saved| saved.registers.word.status = 3, "the device's word cannot be"),
        (
            |saved| saved.config.words[0] = 0x1042_1af4,
            "configuration space differs at offset 0x0: 0x10441af4 here, 0x10421af4 in the saved state",
        ),
        (|saved| saved.msix.vectors.truncate(2), "the number of vectors is 3 here, and was 2"),
        (|saved| saved.interrupts.queue_vectors[0] = 3, "a vector cannot be 3"),
        (
            |saved| saved.device = crate::virtio::saved::SavedDevice::Own(vec![]),
            "the state of this device cannot be an embedder's device's",
        ),
    ];
    let (good, machine) = (saved(), machine());
    let before = machine.function.save();
    for (damage, expected) in damages {
        let mut bad = good.clone();
        damage(&mut bad);
        let error = machine.function.restore(&bad).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(machine.function.save(), before);
    }
    machine.function.restore(&good).unwrap();
    assert_eq!(machine.function.restore(&good), Err(Unfit::InUse));
}

#[test]
fn a_queue_without_its_device_at_work_has_no_worker() {
    let mut bad = saved();
    bad.registers.word =
        crate::virtio::lifecycle::SavedWord::from(crate::virtio::lifecycle::Word::NEW);
    let error = machine().function.restore(&bad).unwrap_err();
    assert_eq!(error, Unfit::impossible("a queue without a worker", QueueState::Taken));
    bad.registers.queues.iter_mut().for_each(|queue| queue.state = QueueState::Enabled);
    bad.registers.queues[0].size = 3;
    // What a driver writes before DRIVER_OK is its own affair until then.
    machine().function.restore(&bad).unwrap();
    let mut bad = saved();
    bad.registers.queues[0].size = 3;
    let fault = Unfit::Queue { queue: 0, fault: QueueFault::Size(3) };
    assert_eq!(machine().function.restore(&bad), Err(fault));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_bytes_are_an_error_or_the_state_of_some_machine_and_never_a_panic(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        cuts: bool,
    ) {
        let mut bytes = postcard::to_stdvec(&saved()).unwrap();
        for (place, byte) in damage {
            let len = bytes.len();
            bytes[place.index(len)] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(saved) = postcard::from_bytes::<SavedVirtioPci>(&bytes) {
            let mut machine = machine();
            let before = machine.function.save();
            let held = machine.pause();
            let restored = machine.function.restore(&saved);
            if restored.is_err() {
                prop_assert_eq!(machine.function.save(), before);
            }
            drop(machine.pci.segment.work().request());
            machine.settle();
            drop(held);
            // Whatever it is now, it can be reset.
            machine.write(STATUS, 1, 0);
            machine.await_state(State::Inactive);
        }
    }
}

//! Random accesses to the common configuration, against a model that is written as the specification is: a
//! struct in memory and what each field does.

use proptest::prelude::*;

use super::{Bed, STATUS};

/// The registers of a device with two queues of at most eight descriptors, as a driver that waits for every ticket sees them.
#[derive(Default)]
struct Model {
    device_select: u64,
    driver_select: u64,
    features: [u64; 2],
    status: u64,
    queue: u64,
    config_vector: Vector,
    queues: [Queue; 2],
}

struct Vector(u64);

impl Default for Vector {
    fn default() -> Self {
        Self(0xffff)
    }
}

struct Queue {
    size: u64,
    vector: Vector,
    enabled: u64,
    addresses: [u64; 3],
    /// It was reset, and its worker waits for it.
    empty: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self { size: 8, vector: Vector::default(), enabled: 0, addresses: [0; 3], empty: false }
    }
}

const OFFERED: [u64; 2] = [1 | 1 << 28 | 1 << 29, 1 | 1 << 8];

impl Model {
    fn write(&mut self, field: u64, value: u64) {
        let vector = || Vector(if value < 3 { value } else { 0xffff });
        let open = self.status & 4 == 0;
        let queue = usize::try_from(self.queue).unwrap();
        match field {
            0x00 => self.device_select = value,
            0x08 => self.driver_select = value,
            0x0c if open && self.status & 8 == 0 => {
                if let Ok(half @ 0..=1) = usize::try_from(self.driver_select) {
                    self.features[half] = value;
                }
            }
            0x10 => self.config_vector = vector(),
            STATUS => self.write_status(value),
            0x16 => self.queue = value,
            _ => {
                let Some(queue) = self.queues.get_mut(queue) else { return };
                let open = open || queue.empty && self.status & 0x40 == 0;
                let settable = open && queue.enabled == 0;
                let resettable = self.status & 8 != 0 && self.features[1] & 1 << 8 != 0;
                match field {
                    0x1a => queue.vector = vector(),
                    0x18 if settable => queue.size = value,
                    0x1c if open && value == 1 => {
                        queue.enabled = 1;
                        if std::mem::take(&mut queue.empty) && !queue.works() {
                            self.status |= 0x40;
                        }
                    }
                    RESET if resettable && value == 1 => {
                        let empty = queue.empty || queue.enabled != 0 && self.status & 4 != 0;
                        *queue = if queue.enabled != 0 {
                            Queue { empty, ..Queue::default() }
                        } else {
                            Queue { vector: Vector::default(), ..std::mem::take(queue) }
                        };
                    }
                    0x20..0x38 if settable => {
                        let address = &mut queue.addresses[usize::try_from(field / 8 - 4).unwrap()];
                        let shift = field % 8 * 8;
                        *address = *address & !(0xffff_ffff << shift) | value << shift;
                    }
                    _ => {}
                }
            }
        }
    }

    fn write_status(&mut self, value: u64) {
        if value == 0 {
            *self = Self {
                device_select: self.device_select,
                driver_select: self.driver_select,
                queue: self.queue,
                ..Self::default()
            };
            return;
        }
        let mut set = value & 0x8f;
        let acceptable = (0..2).all(|half| self.features[half] & !OFFERED[half] == 0)
            && self.features[1] & 1 != 0;
        let agreed = self.status & 8 != 0;
        let started = self.status & 4 != 0;
        if started || !acceptable {
            set &= !8;
        }
        if started || !agreed || (self.status | set) & 0x80 != 0 {
            set &= !4;
        }
        self.status |= set;
        // Queues that are enabled with no address in RAM, or with a bad size, break the device.
        if set & 4 != 0 && self.queues.iter().any(|queue| queue.enabled != 0 && !queue.works()) {
            self.status |= 0x40;
        }
    }

    fn read(&self, field: u64) -> u64 {
        let half = |of: [u64; 2], select| {
            usize::try_from(select).ok().and_then(|half| of.get(half).copied()).unwrap_or(0)
        };
        let queue = self.queues.get(usize::try_from(self.queue).unwrap());
        match field {
            0x00 => self.device_select,
            0x04 => half(OFFERED, self.device_select),
            0x08 => self.driver_select,
            0x0c => half(self.features, self.driver_select),
            0x10 => self.config_vector.0,
            0x12 => 2,
            STATUS => self.status,
            0x16 => self.queue,
            0x18 => queue.map_or(0, |queue| queue.size),
            0x1a => queue.map_or(0xffff, |queue| queue.vector.0),
            0x1c => queue.map_or(0, |queue| queue.enabled),
            0x1e => queue.map_or(0, |_| self.queue),
            // queue_notify_data is not offered, and a reset is waited for.
            0x38 | RESET => 0,
            _ => queue.map_or(0, |queue| {
                let address = queue.addresses[usize::try_from(field / 8 - 4).unwrap()];
                address >> (field % 8 * 8) & 0xffff_ffff
            }),
        }
    }
}

impl Queue {
    fn works(&self) -> bool {
        let size = self.size;
        // The driver's memory: 4 MiB from 0.
        let lies = |address: u64, alignment: u64, len: u64| {
            address.is_multiple_of(alignment)
                && address.checked_add(len).is_some_and(|end| end <= 4 << 20)
        };
        size.is_power_of_two()
            && size <= 8
            && self.addresses[1] != 0
            && lies(self.addresses[0], 16, 16 * size)
            && lies(self.addresses[1], 2, 6 + 2 * size)
            && lies(self.addresses[2], 4, 6 + 8 * size)
    }
}

const RESET: u64 = 0x3a;

/// Every field but the generation, with its width.
const FIELDS: [(u64, usize); 22] = [
    (0x00, 4),
    (0x04, 4),
    (0x08, 4),
    (0x0c, 4),
    (0x10, 2),
    (0x12, 2),
    (STATUS, 1),
    (0x16, 2),
    (0x18, 2),
    (0x1a, 2),
    (0x1c, 2),
    (0x1e, 2),
    (0x20, 4),
    (0x24, 4),
    (0x28, 4),
    (0x2c, 4),
    (0x30, 4),
    (0x34, 4),
    (STATUS, 1),
    (0x38, 2),
    (RESET, 2),
    (RESET, 2),
];

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..16_u64,
        2 => prop::sample::select(vec![1, 3, 11, 15, 0x80, 0x1000, 0x10_0000, 0x40_0000]),
        1 => any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn registers_read_as_the_specification_says(
        program in prop::collection::vec((0..FIELDS.len(), value()), 0..80),
        ready in any::<bool>(),
    ) {
        let bed = Bed::with_queues(2);
        let mut model = Model::default();
        let mut write = |field, width: usize, value: u64| {
            let value = value & (u64::MAX >> (64 - 8 * width));
            // Whether the activation succeeds shows in the status.
            let _ = bed.write(field, width, value);
            model.write(field, value);
            // A worker's part in it comes in time: the end of a reset, and what a queue that comes back breaks.
            let broken = model.status & 0x40;
            while bed.read(RESET, 2) != 0 || bed.read(STATUS, 1) & 0x40 != broken {
                std::thread::yield_now();
            }
            for (field, width) in FIELDS {
                assert_eq!(bed.read(field, width), model.read(field), "{field:#x}");
            }
        };
        if ready {
            for (field, width, value) in [(STATUS, 1, 3), (8, 4, 1), (12, 4, 0x101), (STATUS, 1, 11)] {
                write(field, width, value);
            }
        }
        for (field, value) in program {
            let (field, width) = FIELDS[field];
            write(field, width, value);
        }
    }
}

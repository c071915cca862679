//! What others need: the best of other VMMs at their API sockets on a 2-core machine with a
//! software KVM, median milliseconds. Figures to be below of, on such a machine.

use crate::cell::{Guest, Load, Verb};

/// vCPUs, what they do, pause, resume.
const OTHERS: [(u32, Guest, f64, f64); 7] = [
    (1, Guest::Halted, 0.53, 0.50),
    (8, Guest::Halted, 0.65, 0.61),
    (64, Guest::Halted, 3.0, 2.1),
    (254, Guest::Halted, 8.0, 4.1),
    (8, Guest::Spinning, 4.3, 19.0),
    (64, Guest::Spinning, 4.6, 13.0),
    (254, Guest::Spinning, 22.8, 932.0),
];

/// Start to "Running" with one vCPU, others, in milliseconds.
pub const START_1_MS: f64 = 6.0;
/// Start to "Running" with 254 vCPUs, the limit, in milliseconds.
pub const START_254_MS: f64 = 50.0;
/// Memory outside guest RAM with one vCPU, the limit, in MiB.
pub const MEMORY_MIB: f64 = 4.0;
/// No sample of a storm may be above so many times the median.
pub const STORM_SPREAD: f64 = 5.0;

/// What others need, if it is known.
pub fn others_ms(load: Load, verb: Verb) -> Option<f64> {
    let (_, _, pause, resume) = OTHERS
        .iter()
        .find(|(vcpus, guest, ..)| *vcpus == load.vcpus.get() && *guest == load.guest)?;
    Some(match verb {
        Verb::Pause => *pause,
        Verb::Resume => *resume,
    })
}

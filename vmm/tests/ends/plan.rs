//! What a round does, drawn from a seed, and how many there are.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// Rounds when it is a test among others.
const BOUNDED: u64 = 40;

/// How a guest ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The keyboard controller's reset.
    Reset,
    /// ACPI's S5.
    PowerOff,
    /// A fault that its kernel reports, and S5.
    Crash,
    /// Its watchdog, as its clock tells it.
    Watchdog,
}

impl End {
    /// Whether the VM begins anew by itself.
    pub fn restarts(self) -> bool {
        matches!(self, Self::Reset | Self::Watchdog)
    }
}

/// vCPUs of a VM in the beginning, and at most.
pub const VCPUS: (u32, u32) = (2, 4);

/// A request with its body, in which `{image}` stands for the path of an image, and every status that is documented for it of a VM that may run, be paused, or be shut down.
pub type Request = (&'static str, &'static str, &'static [u16]);

const PAUSE: Request = ("vm.pause", "", &[204, 405]);
const RESUME: Request = ("vm.resume", "", &[204, 405]);

/// Another number of vCPUs. The guest lets go of none, so one that is to go stays until that is taken back, or until the VM begins anew.
const fn vcpus(body: &'static str) -> Request {
    ("vm.resize", body, &[204, 405, 429])
}
const ONE: Request = vcpus(r#"{"desired_vcpus":1}"#);
const TWO: Request = vcpus(r#"{"desired_vcpus":2}"#);
const THREE: Request = vcpus(r#"{"desired_vcpus":3}"#);
const ALL: Request = vcpus(r#"{"desired_vcpus":4}"#);

/// What the host does at the same time.
pub const DEEDS: &[&[Request]] = &[
    &[PAUSE, RESUME],
    &[PAUSE],
    &[RESUME],
    &[PAUSE, PAUSE, RESUME, PAUSE, RESUME],
    &[("vm.resize", r#"{"desired_balloon":8388608}"#, &[204])],
    &[("vm.resize", r#"{"desired_balloon":0}"#, &[204]), PAUSE, RESUME],
    &[("vm.resize-disk", r#"{"id":"disk","desired_size":2097152}"#, &[204, 405])],
    &[PAUSE, ("vm.resize-disk", r#"{"id":"disk","desired_size":1048576}"#, &[204, 405]), RESUME],
    &[ALL],
    &[TWO],
    &[THREE, ALL, ONE, ALL],
    &[ONE, PAUSE, ALL, RESUME, ALL],
    &[ALL, PAUSE, TWO, RESUME, TWO],
    &[
        ("vm.add-disk", r#"{"id":"plug","path":"{image}"}"#, &[200, 204, 409]),
        ("vm.remove-device", r#"{"id":"plug"}"#, &[204, 404]),
    ],
    &[PAUSE, ("vm.add-disk", r#"{"id":"plug","path":"{image}"}"#, &[200, 204, 409]), RESUME],
    &[("vm.power-button", "", &[204, 405]), ("vm.nmi", "", &[204, 405])],
];

/// One round.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub end: End,
    /// Index in [`DEEDS`].
    pub deed: usize,
    /// Whether the VM is paused before.
    pub paused: bool,
    /// When the guest begins to end, and when the host begins.
    pub guest_after: Duration,
    pub host_after: Duration,
}

/// Knuth's MMIX generator: the same rounds from the same seed, if not the same instants.
pub struct Plan {
    pub seed: u64,
    state: u64,
    pub rounds: u64,
}

impl Plan {
    pub fn from_environment() -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let seed =
            number("STILLPOINT_ENDS_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) >> 32);
        let rounds = number("STILLPOINT_ENDS_ROUNDS").unwrap_or(BOUNDED);
        Self { seed, state: seed, rounds }
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        const FACTOR: u64 = 6_364_136_223_846_793_005;
        self.state = self.state.wrapping_mul(FACTOR).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % limit
    }

    pub fn round(&mut self) -> Round {
        let ends = [End::Reset, End::PowerOff, End::Reset, End::Crash, End::Watchdog];
        let end = ends[usize::try_from(self.below(5)).unwrap()];
        let deed = usize::try_from(self.below(DEEDS.len() as u64)).unwrap();
        let mut micros = || Duration::from_micros(self.below(3000));
        let (guest_after, host_after) = (micros(), micros());
        Round { end, deed, paused: self.below(4) == 0, guest_after, host_after }
    }
}

//! Address spaces and ranges in them.
use std::fmt;
use std::marker::PhantomData;

/// One of the two address spaces of an x86 machine. The types [`Pio`] and [`Mmio`] are markers
/// that keep a port from being looked up among memory addresses.
pub trait AddressSpace: Copy + Eq + fmt::Debug + Send + Sync + 'static {
    /// What an address in it is called, for messages.
    const NAME: &'static str;
    /// The highest address; one less than a power of two.
    const LAST: u64;
}

/// The 64 Ki I/O ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pio {}

impl AddressSpace for Pio {
    const NAME: &'static str = "I/O ports";
    const LAST: u64 = 0xFFFF;
}

/// Guest physical addresses that are not RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mmio {}

impl AddressSpace for Mmio {
    const NAME: &'static str = "guest physical addresses";
    const LAST: u64 = u64::MAX;
}

/// A range of addresses that is not empty and lies within its space.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AddressRange<S> {
    first: u64,
    last: u64,
    space: PhantomData<fn() -> S>,
}

/// A range that cannot be: empty, or past the end of its space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{len:#x} {space} from {start:#x} make no range: it takes at least one, and the last is {last:#x}"
)]
pub struct InvalidRange {
    space: &'static str,
    start: u64,
    len: u64,
    last: u64,
}

impl<S: AddressSpace> AddressRange<S> {
    /// The `len` addresses from `start`.
    pub const fn new(start: u64, len: u64) -> Result<Self, InvalidRange> {
        let invalid = InvalidRange { space: S::NAME, start, len, last: S::LAST };
        if len == 0 || start > S::LAST || len - 1 > S::LAST - start {
            return Err(invalid);
        }
        Ok(Self { first: start, last: start + (len - 1), space: PhantomData })
    }

    /// A range for a constant; what cannot be does not compile.
    ///
    /// # Panics
    /// There is no such range.
    pub const fn constant(start: u64, len: u64) -> Self {
        match Self::new(start, len) {
            Ok(range) => range,
            Err(_) => panic!("not a range"),
        }
    }

    /// The lowest address.
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The highest address.
    pub const fn last(self) -> u64 {
        self.last
    }

    /// Whether an address lies in it.
    pub const fn contains(self, address: u64) -> bool {
        self.first <= address && address <= self.last
    }

    /// Whether any address lies in both.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl<S> fmt::Display for AddressRange<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.first, self.last)
    }
}

impl<S> fmt::Debug for AddressRange<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

//! How a device asks for the machine to be switched off or reset.

/// What the guest wants to happen to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerRequest {
    /// Switch off (ACPI S5).
    Shutdown,
    /// Start over, as after a reset of the processor and the chipset.
    Reset,
}

/// Who takes such requests.
pub trait PowerSink: Send + Sync {
    /// Takes note of a request and returns at once; it is called by vCPU threads in the middle
    /// of an exit. Several vCPUs may ask at the same time, and ask again.
    fn request(&self, request: PowerRequest);
}

#[cfg(test)]
pub(crate) mod testing {
    use super::{PowerRequest, PowerSink};
    use crate::sync::atomic::{AtomicU64, Ordering};

    /// Counts requests by kind.
    #[derive(Default)]
    pub(crate) struct Requests {
        shutdowns: AtomicU64,
        resets: AtomicU64,
    }

    impl Requests {
        /// Shutdowns and resets so far.
        pub(crate) fn seen(&self) -> (u64, u64) {
            (self.shutdowns.load(Ordering::Relaxed), self.resets.load(Ordering::Relaxed))
        }
    }

    impl PowerSink for Requests {
        fn request(&self, request: PowerRequest) {
            match request {
                PowerRequest::Shutdown => &self.shutdowns,
                PowerRequest::Reset => &self.resets,
            }
            .fetch_add(1, Ordering::Relaxed);
        }
    }
}

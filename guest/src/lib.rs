//! The embedded SMP guest.

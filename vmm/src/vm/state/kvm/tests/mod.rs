//! Saving and restoring on the machine's KVM.

mod bed;
mod guests;
mod hostile;
mod presence;
mod rehearsal;
mod time;
mod timers;

use bed::{Bed, is_there_kvm};

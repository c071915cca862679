//! Section A: signalling and acknowledging.

mod ack_timeout_load;
mod async_pause;
mod double_pause;
mod exited_thread_pause;
mod gdb_resume;
mod half_paused;
mod lost_kick;
mod nmi_storm;
mod pauser_token;
mod resume_pause_aba;
mod serial_pause;
mod stale_ack;

use crate::model::Model;

/// The entries.
pub const MODELS: &[Model] = &[
    serial_pause::MODEL,
    resume_pause_aba::MODEL,
    lost_kick::MODEL,
    ack_timeout_load::MODEL,
    async_pause::MODEL,
    stale_ack::MODEL,
    exited_thread_pause::MODEL,
    half_paused::MODEL,
    double_pause::MODEL,
    pauser_token::MODEL,
    nmi_storm::MODEL,
    gdb_resume::MODEL,
];

//! Pause, resume, kill and kick with two vCPUs and two controllers, throttles and work items, over the production types.

mod entered;
mod entered_and_left;
mod kill;
mod lost_kick;
mod one_owner;
mod one_shot_coalesced;
mod pause;
mod range;
mod resume;
mod resume_last_out;
mod throttle;
mod work_item;

use crate::model::Model;

/// Each of them.
pub const MODELS: &[Model] = &[
    pause::MODEL,
    resume::MODEL,
    resume_last_out::MODEL,
    kill::MODEL,
    lost_kick::MODEL,
    one_shot_coalesced::MODEL,
    one_owner::MODEL,
    entered::MODEL,
    entered_and_left::MODEL,
    range::MODEL,
    throttle::HELD,
    throttle::LET_GO,
    throttle::KILLED,
    work_item::ROUNDS,
    work_item::PAUSED,
    work_item::KILLED,
    work_item::UNATTENDED,
    work_item::LAST_ANSWER,
];

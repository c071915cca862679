//! What the driver sees of its members: when they stood still, and when they ran again.

use std::ops::Range;
use std::time::Duration;

use crate::group::Group;

/// When the members stood still that were asked then: the mean of their own times, and of now for
/// those that still owe an ack. Now, where there is none, because they were dead or asleep at their parks.
pub(super) fn stood_still(group: &Group, members: &Range<usize>, asked: Duration) -> Duration {
    let now = group.elapsed();
    let (mut sum, mut count) = (Duration::ZERO, 0);
    for member in members.clone() {
        let parked = group.stamps(member).0;
        if parked >= asked || group.load(member).owes_ack() {
            let since = if parked >= asked { parked.min(now) } else { now };
            (sum, count) = (sum + since.saturating_sub(asked), count + 1);
        }
    }
    if count == 0 { now } else { asked + sum / count }
}

/// How long the members took to wake that were let go then: the mean of those that came with the first.
/// Others waited for a processor, and to wait for that is not to be held.
pub(super) fn woke(group: &Group, members: &Range<usize>, let_go: Duration) -> Option<Duration> {
    let unparked = members.clone().map(|member| group.stamps(member).1);
    let took: Vec<_> = unparked.filter_map(|unparked| unparked.checked_sub(let_go)).collect();
    let first = *took.iter().min()?;
    let early = || took.iter().filter(|took| **took <= first * 4);
    Some(early().sum::<Duration>() / u32::try_from(early().count()).ok()?)
}

/// How often the first of the members has been asked to pause.
pub(super) fn epoch(group: &Group, members: &Range<usize>) -> Option<u32> {
    members.clone().next().map(|member| group.load(member).epoch())
}

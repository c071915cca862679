//! What the driver sees of its members: when they stood still, and when they ran again.

use std::ops::Range;
use std::time::Duration;

use crate::group::Group;

/// Members that stop, or wake, within so long of the first did so when they were asked to; later ones waited for a processor.
const TOGETHER: Duration = Duration::from_micros(50);

/// When members stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    /// The mean of those that stopped with the first.
    pub(super) at: Duration,
    /// How far they were apart.
    pub(super) apart: Duration,
    /// How long the first took from being asked: its way out, if no other was before it. Nothing where none stopped for it.
    pub(super) way: Option<Duration>,
}

/// When the members stood still that were asked then. Now, where there is none, because they were dead or asleep at their parks.
///
/// Others waited for a processor, and to wait for that is neither to run nor to be held. If they counted, the stop would
/// be made longer for their sake, and those that stopped at once would stand still for more than their share.
pub(super) fn stood_still(group: &Group, members: &Range<usize>, asked: Duration) -> Stop {
    let now = group.elapsed();
    let took = members.clone().filter_map(|member| {
        let parked = group.stamps(member).0;
        let owes = || group.load(member).owes_ack();
        if parked >= asked { Some(parked.min(now)) } else { owes().then_some(now) }
    });
    let took: Vec<_> = took.map(|stopped| stopped.saturating_sub(asked)).collect();
    match (mean(together(&took)), together(&took).max(), took.iter().min()) {
        (Some(mean), Some(last), Some(first)) => {
            Stop { at: asked + mean, apart: last.saturating_sub(*first), way: Some(*first) }
        }
        _ => Stop { at: now, apart: Duration::ZERO, way: None },
    }
}

/// How long those took that stopped, or woke, with the first.
fn together(took: &[Duration]) -> impl Iterator<Item = &Duration> + Clone {
    let first = took.iter().min().copied().unwrap_or_default();
    took.iter().filter(move |took| took.saturating_sub(first) <= first.min(TOGETHER))
}

/// How long the members took to wake that were let go then: the mean of those that came with the first, as for those that
/// stopped with it. Others waited for a processor (an idle one, too, that has to be woken itself), and to wait for that is
/// not to be held: were it counted, those that wake at once would stand still for less than their share.
pub(super) fn woke(group: &Group, members: &Range<usize>, let_go: Duration) -> Option<Duration> {
    let unparked = members.clone().map(|member| group.stamps(member).1);
    let took: Vec<_> = unparked.filter_map(|unparked| unparked.checked_sub(let_go)).collect();
    mean(together(&took))
}

fn mean<'t>(times: impl Iterator<Item = &'t Duration> + Clone) -> Option<Duration> {
    let count = u32::try_from(times.clone().count()).ok()?;
    times.sum::<Duration>().checked_div(count)
}

/// How often the first of the members has been asked to pause.
pub(super) fn epoch(group: &Group, members: &Range<usize>) -> Option<u32> {
    members.clone().next().map(|member| group.load(member).epoch())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: &[u64]) -> Option<Duration> {
        let micros: Vec<_> = micros.iter().copied().map(Duration::from_micros).collect();
        mean(together(&micros))
    }

    #[test]
    fn who_waited_for_a_processor_makes_no_stop_longer() {
        let micros = |micros| Some(Duration::from_micros(micros));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[20]), micros(20));
        assert_eq!(of(&[30, 20]), micros(25));
        // As long again as the first took, at most.
        assert_eq!(of(&[20, 40]), micros(30));
        assert_eq!(of(&[20, 41]), micros(20));
        assert_eq!(of(&[3000, 20, 900]), micros(20));
        // A wake on an idle processor, beside one on the throttle's own.
        assert_eq!(of(&[20, 75]), micros(20));
        // Where the first took long, it waited itself, and says nothing about the others.
        assert_eq!(of(&[1000, 1050]), micros(1025));
        assert_eq!(of(&[1000, 1051]), micros(1000));
        assert_eq!(of(&[0, 0, 1]), micros(0));
    }
}

//! A pause in the middle of a request.

use super::*;
use crate::event::Event;
use crate::virtio::{Listening, Progress, Sources, Wakeup, Worker};

/// The worker, call by call.
struct Calls {
    worker: Box<dyn Worker>,
    sources: Sources,
    _kick: Event,
}

impl Calls {
    fn of(bed: &Bed) -> Self {
        let mut workers = bed.device.activate(activation(&bed.drivers, Features(0))).unwrap();
        let kick = Event::new().unwrap();
        let sources = Sources::new(&kick).unwrap();
        Self { worker: workers.remove(0), sources, _kick: kick }
    }

    fn call(&mut self) -> Progress {
        let mut listening = Listening { sources: &mut self.sources };
        self.worker.handle(Wakeup::Doorbell(0), &mut listening).unwrap()
    }

    fn finish(&mut self) {
        while self.call() == Progress::More {}
    }
}

fn begun(kind: u16) -> (Bed, Calls) {
    let mut bed = Bed::new(BLOCKS);
    if kind == UNPLUG {
        let mut runner = bed.run();
        assert_eq!(bed.ask(&mut runner, (PLUG, 0, 64)), (ACK, 0));
        bed.drivers = Driver::queues(1, 8);
        bed.host.done();
    }
    let mut calls = Calls::of(&bed);
    let request = bytes((kind, 0, 64));
    bed.drivers[0].send(&Buffers { readable: vec![&request], writable: vec![10] });
    assert_eq!((calls.call(), calls.call()), (Progress::More, Progress::More));
    calls.worker.drain().unwrap();
    assert_eq!(bed.drivers[0].used(), None, "half of it is done");
    (bed, calls)
}

#[test]
fn a_request_is_begun_again_after_a_pause() {
    for (kind, before, after) in [(PLUG, 0, 64), (UNPLUG, 64, 0)] {
        let done = if kind == PLUG { Done::Plug } else { Done::Unplug };
        let (mut bed, mut calls) = begun(kind);
        assert_eq!(bed.plugged(), before);
        calls.finish();
        assert!(bed.drivers[0].used().is_some());
        assert_eq!(bed.drivers[0].used(), None, "once");
        assert_eq!(bed.plugged(), after);
        assert_eq!(bed.host.done(), [done(0..32), done(0..64)]);
    }
}

#[test]
fn what_a_pause_left_of_a_request_that_is_refused_after_it_goes_back() {
    let (mut bed, mut calls) = begun(PLUG);
    // A second pause, earlier in it.
    assert_eq!(calls.call(), Progress::More);
    calls.worker.drain().unwrap();
    // While it was paused.
    bed.set_requested(10);
    assert_eq!(calls.call(), Progress::More);
    // One more pause, before it has been taken back.
    calls.worker.drain().unwrap();
    calls.finish();
    assert!(bed.drivers[0].used().is_some());
    assert_eq!((bed.plugged(), bed.counter("nacks")), (0, 1));
    assert_eq!(bed.host.done(), [Done::Plug(0..32), Done::Plug(0..16), Done::Unplug(0..32)]);
}

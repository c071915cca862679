//! A socket device: the guest is told that its connections are gone, once, with or without a buffer at hand.

use tempfile::TempDir;

use super::*;
use crate::virtio::testing::{Buffers, Sent};
use crate::virtio::vsock::Vsock;

fn moved(machine: Machine, dir: &TempDir) -> Machine {
    machine.moved(|| device(dir))
}

fn device(dir: &TempDir) -> Arc<dyn VirtioDevice> {
    Arc::new(Vsock::bind("vsock0", 3, &dir.path().join("sock")).unwrap())
}

fn started(dir: &TempDir) -> Machine {
    let mut machine = Machine::new(device(dir), Driver::queues(3, 64));
    machine.start(1);
    machine
}

fn give_event_buffer(machine: &mut Machine) -> Sent {
    machine.drivers[2].send(&Buffers { readable: vec![], writable: vec![8] })
}

fn await_event(machine: &mut Machine, sent: &Sent) {
    let used = machine.await_used(2);
    assert_eq!(used, (sent.head, 4));
    assert_eq!(machine.drivers[2].read(sent.writable[0].0, 4), [0; 4], "a transport reset");
}

#[test]
fn a_guest_with_buffers_is_told_that_its_connections_are_gone() {
    let dir = TempDir::new().unwrap();
    let mut machine = started(&dir);
    let sent = give_event_buffer(&mut machine);
    let another = give_event_buffer(&mut machine);
    drop(machine.pause());
    assert_eq!(machine.drivers[2].used(), None, "nothing to tell");
    let mut machine = moved(machine, &dir);
    await_event(&mut machine, &sent);
    // Once for each restore.
    drop(machine.pause());
    assert_eq!(machine.drivers[2].used(), None);
    let mut machine = moved(machine, &dir);
    await_event(&mut machine, &another);
}

#[test]
fn a_guest_without_buffers_is_told_when_it_has_given_one() {
    let dir = TempDir::new().unwrap();
    let mut machine = moved(started(&dir), &dir);
    machine.await_state(State::Active);
    drop(machine.pause());
    let sent = give_event_buffer(&mut machine);
    await_event(&mut machine, &sent);
}

#[test]
fn a_guest_with_another_context_id_is_refused() {
    let dir = TempDir::new().unwrap();
    let machine = started(&dir);
    let still = machine.pause();
    let saved = machine.function.save();
    drop(still);
    let path = dir.path().join("other");
    let other =
        Machine::new(Arc::new(Vsock::bind("vsock0", 4, &path).unwrap()), Driver::queues(3, 64));
    let error = other.function.restore(&saved).unwrap_err().to_string();
    assert_eq!(error, "the guest's context id is 4 here, and was 3 when the state was saved");
}

//! Disks that are added to a VM that runs, while the host's storage takes its time.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]

mod embedded;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use crossbeam_queue::SegQueue;
use devices::virtio::block::BlockDevice;
use support::bed::{Bed, create};
use vmm::control::VmmOptions;
use vmm::host_devices::OpenDisk;

/// A storage that opens an image only when it is told to, and says when it has begun.
struct Slow {
    begun: Receiver<()>,
    let_go: Sender<()>,
}

impl Slow {
    /// It, and what opens images there.
    fn new() -> (Self, OpenDisk) {
        let ((begins, begun), (let_go, may_end)) = (channel(), channel());
        // Only one of them is taken at a time, so nobody waits for the other.
        let waiting = SegQueue::new();
        waiting.push(may_end);
        let open: OpenDisk = Arc::new(move |options| {
            begins.send(()).unwrap();
            let receiver: Receiver<()> = waiting.pop().unwrap();
            receiver.recv().unwrap();
            waiting.push(receiver);
            BlockDevice::open(options)
        });
        (Self { begun, let_go }, open)
    }
}

fn running(open_disk: OpenDisk) -> Bed {
    let bed = Bed::with(VmmOptions { open_disk: Some(open_disk), ..VmmOptions::default() });
    let mut client = bed.client();
    assert_eq!(client.request("PUT", "vm.create", &create(2, "mode=busy")).status, 204);
    assert_eq!(client.request("PUT", "vm.boot", "").status, 204);
    bed
}

fn image(bed: &Bed, id: &str) -> String {
    let path = bed.directory.path().join("image.raw");
    std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    format!(r#"{{"path": "{}", "id": "{id}", "image_type": "Raw"}}"#, path.display())
}

#[test]
fn a_pause_waits_for_no_image_that_is_being_opened() {
    let (slow, open) = Slow::new();
    let bed = running(open);
    let disk = image(&bed, "slow");
    let mut asking = bed.client();
    let pauses = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| asking.request("PUT", "vm.add-disk", &disk));
        slow.begun.recv().unwrap();
        // The image is being opened. If the VM's owner did that, none of these would be answered: the client's guard says so.
        let mut client = bed.client();
        for _ in 0..20 {
            for request in ["vm.pause", "vm.resume"] {
                assert_eq!(client.request("PUT", request, "").status, 204);
            }
            pauses.fetch_add(1, Ordering::Relaxed);
        }
        let info = client.request("GET", "vm.info", "");
        assert!(!info.body.contains("slow"), "it is told before it is there: {}", info.body);
        // It ends while the VM is paused.
        assert_eq!(client.request("PUT", "vm.pause", "").status, 204);
        slow.let_go.send(()).unwrap();
        let added = adding.join().unwrap();
        assert_eq!(added.status, 200, "{added:?}");
        assert_eq!(client.request("PUT", "vm.resume", "").status, 204);
        let info = client.request("GET", "vm.info", "");
        assert!(info.body.contains("slow"), "{}", info.body);
    });
    assert_eq!(pauses.load(Ordering::Relaxed), 20);
    bed.end();
}

#[test]
fn of_two_that_add_under_one_id_the_later_is_refused_before_anything_is_opened() {
    let (slow, open) = Slow::new();
    let bed = running(open);
    let disk = image(&bed, "twice");
    let (mut client, mut asking) = (bed.client(), bed.client());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| asking.request("PUT", "vm.add-disk", &disk));
        slow.begun.recv().unwrap();
        slow.let_go.send(()).unwrap();
        assert_eq!(first.join().unwrap().status, 200);
        // What is refused by the configuration is refused before anything is opened.
        let second = client.request("PUT", "vm.add-disk", &disk);
        assert_eq!(second.status, 409, "{second:?}");
        assert!(slow.begun.try_recv().is_err(), "an image was opened for nothing");
    });
    bed.end();
}

#[test]
fn a_vm_that_ends_while_an_image_is_being_opened_has_no_disk_and_the_image_is_free() {
    let (slow, open) = Slow::new();
    let bed = running(open);
    let disk = image(&bed, "late");
    let mut asking = bed.client();
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| asking.request("PUT", "vm.add-disk", &disk));
        slow.begun.recv().unwrap();
        assert_eq!(bed.client().request("PUT", "vm.delete", "").status, 204);
        slow.let_go.send(()).unwrap();
        let refused = adding.join().unwrap();
        assert_eq!(refused.status, 404, "{refused:?}");
    });
    let path = bed.directory.path().join("image.raw");
    let options = devices::virtio::block::BlockOptions::new("free", &path);
    assert!(BlockDevice::open(options).is_ok(), "its lock is held");
    bed.end();
}

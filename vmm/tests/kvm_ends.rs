//! A guest that ends at a random instant of what the host does: each answer of the API is one that is documented, the VM begins anew
//! or the VMM ends as it should, and no thread and no file is left. The only test of its process, because it looks at all that the
//! process holds.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]

mod embedded;
mod ends;
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use devices::watchdog::WatchdogSink;
use embedded::held::Held;
use embedded::{HANG, Screen, TestVm, until};
use ends::plan::{DEEDS, End, Plan, Round, VCPUS};
use support::raw::Client;
use vmm::api::ApiServer;
use vmm::config::{ConsoleConfig, ConsoleMode, DiskConfig};
use vmm::control::{Ended, VmEnd, VmState, VmmControl, VmmOptions};

/// Rounds of one VMM at most.
const LIFE: u64 = 10;

/// A VMM with its API, and somebody at the guest's serial port.
struct Bed {
    vm: TestVm,
    server: ApiServer,
    screen: Screen,
    vm_end: VmEnd,
    /// The disk's, and that of one to plug in.
    images: [tempfile::NamedTempFile; 2],
}

impl Bed {
    fn boot(vm_end: VmEnd) -> Self {
        let images = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
        for image in &images {
            image.as_file().set_len(1 << 20).unwrap();
        }
        let mut config = embedded::config(VCPUS.0, "mode=busy quiet");
        config.cpus.max_vcpus = VCPUS.1;
        config.disks = vec![DiskConfig {
            id: Some("disk".to_owned()),
            ..DiskConfig::of_path(images[0].path())
        }];
        config.balloon = Some("size=0".parse().unwrap());
        config.pvpanic = true;
        config.watchdog = true;
        let serial = |dir: &std::path::Path| ConsoleConfig {
            mode: ConsoleMode::Socket,
            file: None,
            socket: Some(dir.join("serial")),
            id: None,
        };
        let options = VmmOptions { vm_end, ..VmmOptions::default() };
        let vm = TestVm::with_options(config, serial, options);
        let server = ApiServer::start(&vm.path("api.sock"), Arc::clone(&vm.vmm) as _).unwrap();
        vm.vmm.boot().unwrap();
        let screen = Screen::connect(&vm.serial());
        Self { vm, server, screen, vm_end, images }
    }

    fn client(&self) -> Client {
        let client = Client::connect(&self.vm.path("api.sock"));
        client.set_timeout(HANG);
        client
    }

    fn state(&self) -> Option<VmState> {
        self.vm.vmm.info().ok().map(|info| info.state)
    }

    /// One round. Whether the VMM is still there.
    fn play(&mut self, round: Round) -> bool {
        self.vm.await_up();
        let before = Arc::downgrade(&self.vm.machine());
        if round.paused {
            self.vm.vmm.pause().unwrap();
        }
        let mut client = self.client();
        let power = Arc::clone(&self.vm.machine().power);
        let screen = &mut self.screen;
        let image = self.images[1].path().to_str().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                spin(round.guest_after);
                match round.end {
                    End::Reset => screen.press(b'r'),
                    End::PowerOff => screen.press(b'q'),
                    End::Crash => screen.press(b'x'),
                    End::Watchdog => power.expired(),
                }
            });
            spin(round.host_after);
            for (path, body, documented) in DEEDS[round.deed] {
                // A guest that is beginning anew has no handler on every vCPU yet: it may take an NMI for its end, or hang.
                if *path == "vm.nmi" && round.end.restarts() {
                    continue;
                }
                let body = body.replace("{image}", image);
                let answer = client.request("PUT", path, &body);
                // A VMM that ends with its VM may have.
                let has_ended = self.vm_end == VmEnd::VmmEnds
                    && answer.status == 500
                    && answer.body.contains("the VMM is shutting down");
                assert!(documented.contains(&answer.status) || has_ended, "{path}: {answer:?}");
            }
        });
        // A VM that was paused first has its guest's wish still before it.
        let answer = client.request("PUT", "vm.resume", "");
        assert!([204, 405, 500].contains(&answer.status), "vm.resume: {answer:?}");

        if round.end.restarts() {
            self.vm.await_that("the end of the old machine", |_| before.upgrade().is_none());
            self.vm.await_up();
            assert_eq!(self.state(), Some(VmState::Running));
            return true;
        }
        match self.vm_end {
            VmEnd::VmmEnds => {
                let ended = self.vm.thread.take().unwrap().wait();
                assert_eq!(ended, Ended::GuestShutdown);
                let answer = client.request("PUT", "vm.boot", "");
                assert_eq!(answer.status, 500, "{answer:?}");
                false
            }
            VmEnd::VmmStays => {
                self.vm
                    .await_that("the end", |vm| vm.vmm.info().unwrap().state == VmState::Shutdown);
                // Shutdown is also what a VM is called whose vCPUs are being ended.
                self.vm.await_that("the machine's end", |_| before.upgrade().is_none());
                // Of a guest that ended otherwise the next one would get the key.
                assert_eq!(self.vm.vmm.info().unwrap().last_error, None, "{round:?}");
                assert_eq!(client.request("PUT", "vm.boot", "").status, 204);
                true
            }
        }
    }

    fn end(self) {
        self.server.stop();
        drop(self.vm);
    }
}

/// Lets so much time pass, without giving the processor away for longer.
fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn a_guest_may_end_at_any_instant_of_what_the_host_does() {
    let mut plan = Plan::from_environment();
    eprintln!("ends: {} rounds from seed {}", plan.rounds, plan.seed);
    // What a process makes once is made here.
    Bed::boot(VmEnd::VmmStays).end();
    let before = Held::now();
    let (mut done, mut vmms) = (0, 0);
    while done < plan.rounds {
        let vm_end = if plan.below(2) == 0 { VmEnd::VmmStays } else { VmEnd::VmmEnds };
        let mut bed = Bed::boot(vm_end);
        for _ in 0..LIFE.min(plan.rounds - done) {
            let round = plan.round();
            eprintln!("ends: {done}: {vm_end:?} {round:?} {:?}", DEEDS[round.deed]);
            done += 1;
            if !bed.play(round) {
                break;
            }
        }
        bed.end();
        vmms += 1;
        // A thread that was joined may be seen for a moment until the kernel has taken it away.
        until(
            "nothing left",
            || Held::now() == before,
            || format!("{before:?}\n{:?}", Held::now()),
        );
    }
    eprintln!("ends: {done} rounds on {vmms} VMMs, seed {}", plan.seed);
}

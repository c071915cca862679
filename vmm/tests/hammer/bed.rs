//! One VM under the hammer: runs a program's chapters, and checks after each what must hold.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::Duration;

use stillpoint_guest::{Control, Mode, layout};
use vcpu_state::Deadline;
use vmm::control::{ControlError, VmState, VmmControl};

use super::account::Account;
use super::hand::{Hand, Scene};
use super::plan::{DONE, count};
use super::program::{Chapter, End, Program, Step};
use super::watchdog::{self, wait_for};
use crate::embedded::TestVm;

/// Presses a key. A console's socket can be written to by several at once.
pub fn press(mut console: &UnixStream, key: u8) -> std::io::Result<()> {
    console.write_all(&[key])
}

/// The field of a vCPU's line that rises in a mode; `None` where nothing needs to.
fn progress(mode: Mode, tick: u32) -> Option<u64> {
    match mode {
        Mode::Halt => (tick > 0).then_some(layout::LINE_TICKS),
        Mode::Busy | Mode::Busy0 => Some(layout::LINE_HEARTBEAT),
        Mode::Io => Some(layout::LINE_PIO),
        Mode::Mmio => Some(layout::LINE_MMIO),
    }
}

/// Runs a program on a VM of its own.
pub fn run(program: &Program, seed: u64) -> Result<(), String> {
    watchdog::begin(seed, format!("{program:?}"), program.vcpus);
    let result = chapters(program);
    watchdog::end();
    if result.is_ok() {
        count(&DONE.programs);
    }
    result
}

fn chapters(program: &Program) -> Result<(), String> {
    watchdog::doing(|| "creating a VM".to_owned());
    // Halted, so that nothing is counted before the eyes are on it.
    let cmdline = format!("mode=halt tick={} quiet", program.tick);
    let vm = TestVm::with_screen(program.vcpus, &cmdline);
    vm.vmm.boot().map_err(|error| format!("boot: {error}"))?;
    let console = UnixStream::connect(vm.serial()).map_err(|error| format!("console: {error}"))?;
    let mut bed = Bed { account: booted(&vm), vm, console, tick: program.tick };
    for (number, chapter) in program.chapters.iter().enumerate() {
        bed.chapter(chapter).map_err(|error| format!("chapter {}: {error}", number + 1))?;
    }
    watchdog::doing(|| "ending the VM".to_owned());
    drop(bed);
    Ok(())
}

/// Waits until the guest is up, and begins to count.
fn booted(vm: &TestVm) -> Account {
    count(&DONE.vms);
    watchdog::now_with(&vm.vmm, &vm.vmm.group().unwrap(), &vm.machine());
    wait_for("every vCPU up", || {
        let guest = vm.guest();
        (
            guest.is_some_and(|guest| guest.settled() == Some(Mode::Halt)),
            guest.map(|g| (g.up, g.mode)),
        )
    });
    Account::open(vm)
}

struct Bed {
    vm: TestVm,
    console: UnixStream,
    account: Account,
    tick: u32,
}

impl Bed {
    fn chapter(&mut self, chapter: &Chapter) -> Result<(), String> {
        self.bring_into(chapter.mode)?;
        let nmis = (self.account.nmis(), self.account.lines(layout::LINE_NMIS));
        self.hands(chapter)?;
        watchdog::doing(|| "letting go".to_owned());
        match self.vm.vmm.resume() {
            Ok(wake) => drop(wake),
            Err(ControlError::WrongPhase { .. }) => {}
            Err(error) => return Err(format!("resume: {error}")),
        }
        if chapter.end != End::None {
            // What was killed did at most the one access a vCPU that it did not come to count.
            self.account.balance(self.vm.vcpus.into())?;
            if self.state()? == VmState::Shutdown {
                self.vm.vmm.boot().map_err(|error| format!("boot: {error}"))?;
            }
            // A hand may have removed vCPUs of the new VM before the guest had brought them up.
            self.everybody_there()?;
            self.account = booted(&self.vm);
        }
        self.everybody_there()?;
        self.everybody_goes_on()?;
        self.bring_into(Mode::Halt)?;
        self.account.balance(0)?;
        if chapter.end == End::None {
            let replaced = |step: &Step| matches!(step, Step::Remove(_));
            let all_stayed = !chapter.hands.iter().flatten().any(replaced);
            self.nmis_came(nmis.0, &nmis.1, all_stayed)?;
        }
        self.pending_nmis_are_one()
    }

    /// All hands at once, and perhaps the end of the VM.
    fn hands(&self, chapter: &Chapter) -> Result<(), String> {
        let failed = AtomicBool::new(false);
        let group = self.vm.vmm.group().unwrap();
        let scene = Scene {
            vmm: &self.vm.vmm,
            account: &self.account,
            group: &group,
            console: &self.console,
            vcpus: self.vm.vcpus,
            alone: chapter.hands.len() == 1 && chapter.end == End::None,
            ends: chapter.end != End::None,
            failed: &failed,
        };
        let scene = &scene;
        std::thread::scope(|scope| {
            let hands: Vec<_> = (chapter.hands.iter().enumerate())
                .map(|(number, steps)| {
                    let work = move || {
                        let result = Hand::new(scene).work(steps);
                        if result.is_err() {
                            scene.failed.store(true, Ordering::Relaxed);
                        }
                        result
                    };
                    Builder::new().name(format!("hand{number}")).spawn_scoped(scope, work).unwrap()
                })
                .collect();
            let end = self.end(chapter.end);
            watchdog::doing(|| "waiting for the hands".to_owned());
            let hands = hands.into_iter().enumerate().map(|(number, hand)| {
                let result = hand.join().unwrap_or_else(|_| Err("it panicked".to_owned()));
                result.map_err(|error| format!("hand {number}, {error}"))
            });
            hands.fold(end, Result::and)
        })
    }

    fn end(&self, end: End) -> Result<(), String> {
        let vmm = &self.vm.vmm;
        let (micros, ended): (_, Result<(), ControlError>) = match end {
            End::None => return Ok(()),
            End::Shutdown(micros) | End::Reboot(micros) => {
                watchdog::rest(Duration::from_micros(micros.into()));
                watchdog::doing(|| format!("{end:?}"));
                let shutdown = matches!(end, End::Shutdown(_));
                (micros, if shutdown { vmm.shutdown() } else { vmm.reboot() })
            }
        };
        ended.map_err(|error| format!("end after {micros} us: {error}"))
    }

    fn state(&self) -> Result<VmState, String> {
        self.vm.vmm.info().map(|info| info.state).map_err(|error| error.to_string())
    }

    /// Every vCPU that was removed is added again.
    fn everybody_there(&self) -> Result<(), String> {
        for vcpu in 1..self.vm.vcpus {
            match self.vm.vmm.add_vcpu(vcpu) {
                Ok(()) => count(&DONE.replaced),
                Err(ControlError::Failed(why)) if why.contains("is there already") => {}
                Err(error) => return Err(format!("add vCPU {vcpu}: {error}")),
            }
        }
        Ok(())
    }

    /// Waits until the guest has obeyed every key; the mode that it is in then.
    fn settled(&self) -> Mode {
        let keys = self.account.keys.load(Ordering::SeqCst);
        let mut mode = None;
        wait_for("every key obeyed and every vCPU in its mode", || {
            let guest = self.vm.guest();
            // Each key is a mode's, and begins a generation; the first one is that of the boot. (A key is
            // counted a little before it is obeyed.)
            let obeyed = |g: &Control| u64::from(g.mode.generation()) == keys + 1;
            mode = guest.filter(obeyed).and_then(|guest| guest.settled());
            (mode.is_some(), (keys, guest.map(|g| (g.phase, g.keys, g.mode))))
        });
        mode.unwrap()
    }

    fn bring_into(&self, mode: Mode) -> Result<(), String> {
        self.account.keys.fetch_add(1, Ordering::SeqCst);
        press(&self.console, mode.key()).map_err(|error| format!("the console: {error}"))?;
        let settled = self.settled();
        if settled != mode {
            return Err(format!("key {mode:?} led to {settled:?}"));
        }
        Ok(())
    }

    /// Nobody holds the VM any longer.
    fn everybody_goes_on(&self) -> Result<(), String> {
        let words: Vec<_> = self.vm.vmm.group().unwrap().words().collect();
        if let Some(held) = words.iter().find(|word| word.holders() > 0) {
            return Err(format!("everybody let go, and a word is {held}"));
        }
        let Some(field) = progress(self.settled(), self.tick) else { return Ok(()) };
        let then = self.account.lines(field);
        wait_for("every vCPU going on", || {
            let now = self.account.lines(field);
            let moved = now.iter().zip(&then).filter(|(now, then)| now > then).count();
            (moved == then.len(), moved)
        });
        Ok(())
    }

    /// Of the NMIs that were asked for each vCPU took at least one, and none that nobody asked for.
    fn nmis_came(&self, asked: u64, had: &[u64], all_stayed: bool) -> Result<(), String> {
        let asked = self.account.nmis() - asked;
        let came = |had: &[u64]| -> Vec<u64> {
            let now = self.account.lines(layout::LINE_NMIS);
            now.iter().zip(had).map(|(now, had)| now - had).collect()
        };
        if all_stayed && asked > 0 {
            wait_for("an NMI for each vCPU", || {
                let came = came(had);
                (came.iter().all(|came| *came > 0), came)
            });
        }
        match came(had).into_iter().find(|came| *came > asked) {
            Some(came) => Err(format!("{asked} NMIs were asked for, and {came} came")),
            None => Ok(()),
        }
    }

    /// NMIs asked for while a vCPU is held are one when it goes on.
    fn pending_nmis_are_one(&self) -> Result<(), String> {
        let group = self.vm.vmm.group().unwrap();
        let still = group.pause(Deadline::Never).map_err(|error| error.to_string())?;
        let had = self.account.lines(layout::LINE_NMIS);
        for _ in 0..2 {
            self.vm.vmm.nmi().map_err(|error| error.to_string())?;
            self.account.nmis.fetch_add(1, Ordering::SeqCst);
            count(&DONE.nmis);
        }
        if had != self.account.lines(layout::LINE_NMIS) {
            return Err("a vCPU that is held took an NMI".to_owned());
        }
        drop(still);
        wait_for("the pending NMI", || {
            let now = self.account.lines(layout::LINE_NMIS);
            (now.iter().zip(&had).all(|(now, had)| now > had), now)
        });
        let still = group.pause(Deadline::Never).map_err(|error| error.to_string())?;
        let more: Vec<_> = had.iter().map(|had| had + 1).collect();
        let now = self.account.lines(layout::LINE_NMIS);
        drop(still);
        if now == more { Ok(()) } else { Err(format!("NMIs {had:?} became {now:?}, not one more")) }
    }
}

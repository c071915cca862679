//! What became of a round: who has the VM, what the operator does about it, and what is begun anew.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::processes::link::Fault;
use crate::processes::plan::{Plan, Wrong};
use crate::processes::process::Process;
use crate::processes::rest;
use crate::{Rounds, Said};

/// How long the host waits for a lease that need not come.
const MOMENT: Duration = Duration::from_millis(100);

impl Rounds {
    /// Who has the VM now is `here`; a process that has ended is begun anew.
    pub(crate) fn judge(&mut self, plan: &Plan, phase: &str, said: &Said) {
        let Said { sent, received } = said;
        for answer in [sent, received] {
            let stalls = answer.as_ref().is_err_and(|error| error.starts_with("STALL"));
            assert!(!stalls, "{}", self.report(said));
        }
        let (kills_here, kills_there) = match plan.wrong {
            Wrong::KillSource { .. } => (true, false),
            Wrong::KillDestination { .. } => (false, true),
            Wrong::DieInTheWindow => {
                if received.is_ok() {
                    // It runs there, until nobody can be asked any more.
                    let begun = Instant::now();
                    let before = self.guest.image.lease();
                    while self.guest.image.lease() == before && begun.elapsed() < MOMENT {}
                }
                self.there.kill();
                (false, true)
            }
            _ => (false, false),
        };
        for (process, is_killed) in [(&mut self.here, kills_here), (&mut self.there, kills_there)] {
            if is_killed {
                process.wait();
            }
        }
        // Without memory it may end, too.
        let has_ended = [self.here.has_ended(), self.there.has_ended()];
        let may_end = [kills_here, kills_there || matches!(plan.wrong, Wrong::NoMemory { .. })];
        for (has, may) in has_ended.into_iter().zip(may_end) {
            assert!(may || !has, "a process has ended: {}", self.report(said));
        }
        let is_in_doubt = self.here.transfer().as_deref() == Some("in-doubt");
        let is_in_window = matches!(
            plan.wrong,
            Wrong::Link(Fault::Commit | Fault::Answer) | Wrong::DieInTheWindow
        );
        assert!(is_in_doubt || !is_in_window, "{}", self.report(said));
        if is_in_doubt {
            self.seen.in_doubt += 1;
            self.resolve(phase, said, has_ended[1]);
        }
        let states = (self.here.state(), self.there.state());
        match (states.0.as_deref(), states.1.as_deref()) {
            (Some(found), None) => {
                let is_well = found == phase && sent.is_err();
                assert!(is_well && (received.is_err() || has_ended[1]), "{}", self.report(said));
                self.seen.stayed += 1;
            }
            (None, Some(found)) => {
                let is_well = found == phase && received.is_ok();
                let told = sent.is_ok() || is_in_doubt || has_ended[0];
                assert!(is_well && told, "{}", self.report(said));
                std::mem::swap(&mut self.here, &mut self.there);
                self.seen.moved += 1;
            }
            (None, None) => {
                // The one that had it was killed.
                let by_kill = (has_ended[0] && received.is_err())
                    || (has_ended[1] && (sent.is_ok() || is_in_doubt));
                assert!(by_kill, "nobody has it: {}", self.report(said));
                self.seen.ended += 1;
            }
            _ => panic!("both have it: {}", self.report(said)),
        }
        self.revive();
    }

    /// What the manual has the operator do.
    fn resolve(&mut self, phase: &str, said: &Said, is_there_dead: bool) {
        let here = &self.here;
        assert_eq!(here.state().as_deref(), Some("Paused"), "{}", self.report(said));
        let is_there = self.there.state().is_some();
        let was_there = said.received.is_ok() && !is_there_dead;
        assert_eq!(is_there, was_there, "{}", self.report(said));
        let resolution = if is_there { "Drop" } else { "Keep" };
        here.put("vm.migration-resolve", Some(&json!({"resolution": resolution})))
            .expect("resolved");
        if !is_there_dead || phase == "Paused" {
            return;
        }
        // Nobody could ask the one that died. If it had run, the guest finds that out by itself.
        let begun = Instant::now();
        let sequence = self.guest.image.lease().map(|lease| lease.sequence);
        while begun.elapsed() < Duration::from_secs(20) {
            if let Some(complaint) = self.guest.image.complaint() {
                let ((mine, _), (is_lease, found, _)) = (complaint.mine, complaint.found);
                assert!(is_lease && found > mine, "{complaint:?}");
                self.here.put("vm.delete", None).expect("deleted");
                self.seen.ran_in_the_window += 1;
                return;
            }
            let now = self.guest.image.lease().map(|lease| lease.sequence);
            if now > sequence.map(|sequence| sequence + 2) {
                return;
            }
            rest(Duration::from_millis(1));
        }
        panic!("STALL: {}", self.report(said));
    }

    /// Begins anew what was killed: a process, and the guest if it was in it.
    fn revive(&mut self) {
        for process in [&mut self.here, &mut self.there] {
            if process.has_ended() {
                self.starts += 1;
                *process = Process::start(&self.bed, &format!("next-{}", self.starts));
            }
        }
        if self.here.state().is_none() {
            self.guest.begin(&self.here);
        }
    }
}

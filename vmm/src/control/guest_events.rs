//! What the guest does by itself, and what becomes of its VM then: [`Phase::after`] decides.

use devices::watchdog::Past;
use vcpu_state::sync::Arc;

use super::message::Message;
use super::owner::Owner;
use super::phase::{Consequence, GuestEvent, Phase};
use super::{EndAsked, Ended, VmEnd};

impl Owner {
    /// What the guest has done by itself. What follows from it, [`Phase::after`] says.
    pub(super) fn look_after_guest(&mut self) -> Option<Ended> {
        self.collect_ejected();
        let power = Arc::clone(&self.vm.as_ref()?.machine().power);
        if let Some(panic) = power.take_panic() {
            // Its consequence is a note in every phase that has a guest.
            self.published.guest.count(panic);
            tracing::warn!("the guest's kernel has crashed");
            let report = "the guest's kernel has crashed (pvpanic)".to_owned();
            self.published.last_error.store(Some(Arc::new(report)));
        }
        if self.published.phase() == Phase::Running
            && let Some(vm) = &mut self.vm
        {
            vm.retire_ejected();
        }
        let asked = power.asked()?;
        match self.published.phase().after(asked) {
            Consequence::Keep | Consequence::Void | Consequence::Note => None,
            Consequence::End => {
                self.published.guest.count(asked);
                tracing::info!("the guest switched itself off");
                self.end_by_itself(Ended::GuestShutdown)
            }
            Consequence::Restart => {
                self.published.guest.count(asked);
                tracing::info!("the guest is reset: {asked:?}");
                self.past = match asked {
                    GuestEvent::WatchdogExpired => Past::Expired,
                    _ => Past::Other,
                };
                if let Err(error) = self.reboot() {
                    tracing::error!("cannot reboot: {error}");
                    return self.fail(error.to_string());
                }
                None
            }
        }
    }

    pub(super) fn vcpu_failed(
        &mut self,
        vm: u64,
        report: String,
        end: Option<EndAsked>,
    ) -> Option<Ended> {
        if vm != self.serial || self.vm.is_none() {
            return None;
        }
        if self.published.phase().after(GuestEvent::VcpuFailed) == Consequence::Keep {
            // The VM is leaving, or in doubt: it is the other end's, or looked at again.
            self.put_off(Message::VcpuFailed { vm, report, end });
            return None;
        }
        self.published.guest.count(GuestEvent::VcpuFailed);
        tracing::error!("{report}");
        self.fail(report)
    }

    /// Ends the VM by an error, which stays readable.
    fn fail(&mut self, error: String) -> Option<Ended> {
        self.published.last_error.store(Some(Arc::new(error.clone())));
        self.end_by_itself(Ended::Failed(error))
    }

    fn end_by_itself(&mut self, ended: Ended) -> Option<Ended> {
        // Fails only where there is no VM left to shut down.
        let _ = self.shutdown();
        match self.options.vm_end {
            VmEnd::VmmEnds => Some(ended),
            VmEnd::VmmStays => {
                self.tell(&ended);
                None
            }
        }
    }
}

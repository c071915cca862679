//! The VMM as its users hold it: starts the control thread, posts to it, waits for its answers.

use std::io;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

use vcpu_state::sync::Arc;

use super::owner::{Message, Owner, Request};
use super::published::Published;
use super::{ControlError, Counters, Inbox, VmInfo, VmmControl, VmmOptions};
use crate::config::VmConfig;
use crate::vm::Machine;

/// Why the VMM ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to (`vmm.shutdown`).
    Requested,
    /// The guest switched itself off.
    GuestShutdown,
    /// The VM could not go on; the report is for people.
    Failed(String),
}

/// The requests' way to the control thread.
pub struct Vmm {
    inbox: Arc<Inbox>,
    published: Arc<Published>,
}

/// The end of the VMM, to wait for.
pub struct VmmThread(JoinHandle<Ended>);

impl VmmThread {
    /// Waits until the VMM has ended, the VM and its consoles with it.
    #[must_use]
    pub fn wait(self) -> Ended {
        self.0.join().unwrap_or_else(|_| Ended::Failed("the control thread panicked".to_owned()))
    }
}

impl Vmm {
    /// Starts an empty VMM.
    ///
    /// # Errors
    /// The host has no thread left.
    pub fn start(options: VmmOptions) -> io::Result<(Arc<Self>, VmmThread)> {
        let inbox = Arc::new(Inbox::new());
        let published = Arc::new(Published::new(options.name.clone()));
        let vmm = Arc::new(Self { inbox: Arc::clone(&inbox), published: Arc::clone(&published) });
        let owner = Owner::new(options, Arc::clone(&inbox), published);
        let thread =
            Builder::new().name("control".to_owned()).stack_size(512 << 10).spawn(move || {
                // Closed on every path, a panic included: nobody waits for an answer that cannot come.
                let _close = inbox.close_on_drop();
                owner.run()
            })?;
        Ok((vmm, VmmThread(thread)))
    }

    /// The machine of the VM that exists now, for looking at its memory.
    #[must_use]
    pub fn machine(&self) -> Option<Arc<Machine>> {
        self.published.live.load().as_ref().map(|live| Arc::clone(&live.machine))
    }

    fn request(&self, request: Request) -> Result<(), ControlError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.inbox.post(Message::Request(request, answer));
        // The sender is dropped unanswered when the control thread has ended.
        answered.recv().unwrap_or(Err(ControlError::Stopping))
    }
}

impl VmmControl for Vmm {
    fn create(&self, config: VmConfig) -> Result<(), ControlError> {
        self.request(Request::Create(Box::new(config)))
    }

    fn boot(&self) -> Result<(), ControlError> {
        self.request(Request::Boot)
    }

    fn pause(&self) -> Result<(), ControlError> {
        self.request(Request::Pause)
    }

    fn resume(&self) -> Result<(), ControlError> {
        self.request(Request::Resume)
    }

    fn shutdown(&self) -> Result<(), ControlError> {
        self.request(Request::Shutdown)
    }

    fn reboot(&self) -> Result<(), ControlError> {
        self.request(Request::Reboot)
    }

    fn delete(&self) -> Result<(), ControlError> {
        self.request(Request::Delete)
    }

    fn nmi(&self) -> Result<(), ControlError> {
        self.request(Request::Nmi)
    }

    fn info(&self) -> Result<VmInfo, ControlError> {
        self.published.info()
    }

    fn counters(&self) -> Result<Counters, ControlError> {
        self.published.counters()
    }

    fn vmm_shutdown(&self) -> Result<(), ControlError> {
        self.request(Request::VmmShutdown)
    }
}

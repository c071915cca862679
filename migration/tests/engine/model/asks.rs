//! What a VM is asked, one after the other, and what goes wrong at which of these things.

use std::sync::Arc;

use migration::engine::{Handle, VmError};
use migration::wire::Interrupter;

/// What happens at the nth thing that a VM is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// It fails.
    Fail(u32),
    /// The operator cancels.
    Cancel(u32),
    /// This connection breaks.
    Cut(u32, usize),
}

/// The things that a VM was asked.
pub struct Asks {
    trouble: Trouble,
    count: u32,
    /// The operator's.
    handle: Arc<Handle>,
    links: Vec<Interrupter>,
}

impl Asks {
    pub fn new(trouble: Trouble, handle: Arc<Handle>) -> Self {
        Self { trouble, count: 0, handle, links: vec![] }
    }

    /// What there is to cancel and to break.
    pub fn reach(&mut self, handle: &Arc<Handle>, links: Vec<Interrupter>) {
        self.handle = Arc::clone(handle);
        self.links = links;
    }

    /// It is over. What breaks a connection keeps it open.
    pub fn let_go(&mut self) {
        self.links.clear();
    }

    pub fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// How many there were.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The next one.
    pub fn next(&mut self, what: &str) -> Result<(), VmError> {
        let now = self.count;
        self.count += 1;
        match self.trouble {
            Trouble::Fail(at) if at == now => return Err(format!("it does not {what}").into()),
            // Too late, or not.
            Trouble::Cancel(at) if at == now => drop(self.handle.cancel()),
            Trouble::Cut(at, link) if at == now => self.links[link](),
            _ => {}
        }
        Ok(())
    }
}

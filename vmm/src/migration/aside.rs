//! What nobody has to wait for: the end of things that the host takes long to end.
//!
//! KVM waits for its readers on every processor when a VM's last handle is closed, and the kernel gives back guest memory page by page. Whoever asked for the
//! VM's migration has it at the other end by then.
//!
//! Invariant: nothing is dropped here that has a name others may want: a lock, an image, a tap, a socket.

/// Drops it on a thread of its own, for which nobody waits: the end of the process does what it has not come to.
pub(super) fn drop_aside<T: Send + 'static>(thing: T) {
    let thread = std::thread::Builder::new().name("teardown".to_owned());
    let started = thread.spawn(move || drop(thing));
    if let Err(error) = started {
        // Then it was dropped here.
        tracing::debug!(%error, "no thread for what is left of a VM that has gone");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Tells(mpsc::Sender<std::thread::ThreadId>);

    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.send(std::thread::current().id()).unwrap();
        }
    }

    #[test]
    fn it_is_dropped_and_by_another_thread() {
        let (tell, told) = mpsc::channel();
        drop_aside(Tells(tell));
        assert_ne!(told.recv().unwrap(), std::thread::current().id());
    }
}

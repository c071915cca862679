//! Memory that an input may make a target hold, to the byte: the fuzzer itself looks once a second, and only at pages that were touched.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Bounded;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

static HELD: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

// SAFETY: the system's allocator does the work; beside it two numbers are changed.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as the caller says.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.realloc(memory, layout, size) }
    }
}

fn take(bytes: usize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
    if held > LIMIT.load(Ordering::Relaxed) {
        // What follows needs memory, too.
        LIMIT.store(usize::MAX, Ordering::Relaxed);
        eprintln!("{bytes} bytes more, and {held} are held: an input may not do that");
        std::process::abort();
    }
}

/// What this does holds at most so many bytes at a time.
pub fn within(bytes: usize, what: impl FnOnce()) {
    let limit = HELD.load(Ordering::Relaxed).saturating_add(bytes);
    LIMIT.store(limit, Ordering::Relaxed);
    what();
    LIMIT.store(usize::MAX, Ordering::Relaxed);
}

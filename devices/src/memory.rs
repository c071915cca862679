//! Guest RAM as devices see it: checked mappings, which only workers and the activator touch.

/// Guest RAM. Clones are handles on the same memory.
pub type GuestMemory = vm_memory::GuestMemoryMmap<()>;

//! Which memory and which places of the image an operation can use.

/// What an image asks of memory and offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nothing.
    Anywhere,
    /// Direct I/O takes memory, offsets and lengths of these alignments (powers of two).
    Aligned {
        /// Of addresses in memory.
        memory: u32,
        /// Of places and lengths in the image.
        offset: u32,
    },
    /// The image's library works with buffers of our own.
    Private,
}

/// How an operation reaches the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// Through the page cache.
    Cache,
    /// Passing it by.
    Direct,
    /// Through a buffer of our own.
    Bounce,
}

impl Reach {
    /// How an operation reaches this place. With direct I/O, what is no whole block goes through the page cache: the
    /// kernel keeps both views the same.
    pub fn via(self, offset: u64, len: u32) -> Via {
        match self {
            Self::Anywhere => Via::Cache,
            Self::Private => Via::Bounce,
            Self::Aligned { offset: align, .. } => {
                let aligned = offset.is_multiple_of(align.into()) && len.is_multiple_of(align);
                if aligned { Via::Direct } else { Via::Cache }
            }
        }
    }

    /// Whether direct I/O takes this memory.
    pub fn takes(self, address: usize, len: usize) -> bool {
        match self {
            Self::Aligned { memory, offset } => {
                address.is_multiple_of(memory as usize) && len.is_multiple_of(offset as usize)
            }
            Self::Anywhere | Self::Private => true,
        }
    }
}

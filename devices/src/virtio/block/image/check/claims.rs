//! Which clusters of a file are used, for a window of them at a time.
//!
//! ```text
//!   0: not used ──alone──▶ ALONE
//!        │                   ╳  nothing else may
//!        └──shared──▶ 1 ──shared──▶ 2 … MOST
//! ```

/// Clusters that are looked at together; two bytes each.
pub(super) const WINDOW: u64 = 16 << 20;

/// Used by one, who does not share.
const ALONE: u16 = u16::MAX;
/// The most that share a cluster. The smallest compressed cluster has some ten bytes, the largest cluster 2 MiB of room; in practice they are some thousands.
const MOST: u16 = ALONE - 1;

/// Clusters of the file, from the first to before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub first: u64,
    pub end: u64,
}

impl Window {
    /// Those of a file of so many clusters.
    pub fn all(clusters: u64) -> impl Iterator<Item = Self> {
        (0..clusters.div_ceil(WINDOW)).map(move |number| {
            let first = number * WINDOW;
            Self { first, end: clusters.min(first + WINDOW) }
        })
    }
}

/// A cluster was claimed that cannot be shared like this.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken;

/// The claims within a window; others are taken without a look.
pub(super) struct Claims {
    window: Window,
    counts: Vec<u16>,
}

impl Claims {
    /// Room for the windows of a file of so many clusters.
    pub fn new(clusters: u64) -> Self {
        // At most `WINDOW`.
        let room = usize::try_from(clusters.min(WINDOW)).unwrap_or_default();
        Self { window: Window { first: 0, end: 0 }, counts: vec![0; room] }
    }

    /// Forgets all claims and goes on with another window.
    pub fn begin(&mut self, window: Window) {
        self.counts.fill(0);
        self.window = window;
    }

    /// The clusters that are looked at.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Claims a cluster for one use.
    pub fn claim_alone(&mut self, cluster: u64) -> Result<(), Taken> {
        self.change(cluster, |count| (count == 0).then_some(ALONE))
    }

    /// Claims it for one of several.
    pub fn claim_shared(&mut self, cluster: u64) -> Result<(), Taken> {
        self.change(cluster, |count| (count < MOST).then(|| count + 1))
    }

    /// How often a cluster of the window is referred to.
    pub fn references(&self, cluster: u64) -> u64 {
        match self.place(cluster).map_or(0, |place| self.counts[place]) {
            ALONE => 1,
            count => count.into(),
        }
    }

    fn place(&self, cluster: u64) -> Option<usize> {
        let Window { first, end } = self.window;
        let place = (first..end).contains(&cluster).then(|| cluster - first)?;
        usize::try_from(place).ok().filter(|place| *place < self.counts.len())
    }

    fn change(&mut self, cluster: u64, next: impl Fn(u16) -> Option<u16>) -> Result<(), Taken> {
        if let Some(place) = self.place(cluster) {
            self.counts[place] = next(self.counts[place]).ok_or(Taken)?;
        }
        Ok(())
    }
}

//! The VM that is to come.

use std::sync::Arc;
use std::thread::JoinHandle;

use migration::engine::postcopy::LazyMemory;
use migration::engine::{Adoption, DestinationVm, VmError};
use migration::format::StateReader;
use migration::memory::{Layout, PageSet, SourceMemory};
use migration::testing::ModelMemory;
use migration::wire::{Phase, Rehearsal};

use super::asks::{Asks, Trouble};
use super::{CONFIG, DISKS, Writes, text_of};
use crate::guest::Guest;
use crate::lazy::LazyModel;
use crate::world::{DESTINATION, World};

pub struct Destination {
    pub world: Arc<World>,
    pub memory: Arc<ModelMemory>,
    pub lazy: Option<Arc<LazyModel>>,
    /// The guest at this end, which touches missing pages.
    pub toucher: Option<JoinHandle<()>>,
    /// When that ends its VM, as a user would: after so many pages.
    pub ends_after: Option<u64>,
    pub asks: Asks,
    pub restored: Option<u64>,
    pub started: Option<Phase>,
    pub is_discarded: bool,
    /// The memory that it shares with the source, if that was passed.
    pub adopted: Option<Arc<Guest>>,
    /// What was passed.
    pub adoption: Option<Adoption>,
    /// What it would share.
    pub neighbour: Option<Arc<Guest>>,
    /// What it says that it has tried out.
    pub rehearsal: Option<Rehearsal>,
}

impl Destination {
    pub fn new(world: &Arc<World>, layout: &Layout, trouble: Trouble) -> Self {
        Self {
            world: Arc::clone(world),
            memory: Arc::new(ModelMemory::new(layout)),
            lazy: None,
            toucher: None,
            ends_after: None,
            asks: Asks::new(trouble, Arc::default()),
            restored: None,
            started: None,
            is_discarded: false,
            adopted: None,
            adoption: None,
            neighbour: None,
            rehearsal: None,
        }
    }
}

impl DestinationVm for Destination {
    type Memory = ModelMemory;

    fn adopt(&mut self, adoption: Adoption) -> Result<(), VmError> {
        self.asks.next("adopt")?;
        adoption.for_disks(DISKS.iter().map(|(id, _)| *id))?;
        self.adopted.clone_from(&self.neighbour);
        self.adoption = Some(adoption);
        Ok(())
    }

    fn build(&mut self, config: &[u8]) -> Result<(&ModelMemory, Option<Rehearsal>), VmError> {
        self.asks.next("build")?;
        assert_eq!(config, CONFIG);
        if let Some(adoption) = &self.adoption {
            check_names(adoption)?;
        }
        Ok((&self.memory, self.rehearsal))
    }

    fn can_postpone(&self) -> bool {
        true
    }

    fn postpone(&mut self, missing: &PageSet) -> Result<Arc<dyn LazyMemory>, VmError> {
        self.asks.next("wait for its memory")?;
        let lazy = LazyModel::new(&self.world, &self.memory, missing);
        Ok(Arc::clone(self.lazy.insert(Arc::new(lazy))) as _)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), VmError> {
        self.asks.next("restore")?;
        if let Some(lazy) = &self.lazy {
            // As what a VM has in memory is looked at; whether it comes does not matter any more if it does not.
            let _ = [0, 5, 61].map(|page| lazy.touch(page));
        }
        let mut reader = StateReader::parse(state)?;
        let Writes(writes) = reader.take()?;
        reader.finish()?;
        self.restored = Some(writes);
        Ok(())
    }

    fn take_disks(&mut self) -> Result<(), VmError> {
        self.asks.next("take its disks")?;
        self.world.take(DESTINATION)
    }

    fn start(&mut self, phase: Phase) -> Result<(), VmError> {
        self.asks.next("start")?;
        let runs = phase == Phase::Running;
        if runs {
            self.world.run();
            // The memory is its own now.
            self.adopted.iter().for_each(|guest| guest.take_over());
        }
        if self.lazy.as_ref().is_some_and(|lazy| !lazy.go_live(runs)) {
            if runs {
                self.world.stop();
            }
            return Err("its memory cannot be had".into());
        }
        if runs {
            self.toucher = self.lazy.clone().map(|lazy| {
                let pages = SourceMemory::layout(&*self.memory).pages();
                let ends_after = self.ends_after;
                std::thread::spawn(move || {
                    // All of them, in an order of its own.
                    for at in 0..pages {
                        if ends_after == Some(at) {
                            lazy.end();
                        }
                        if lazy.touch(at * 37 % pages).is_none() {
                            return;
                        }
                    }
                })
            });
        }
        self.started = Some(phase);
        Ok(())
    }

    fn discard(&mut self) {
        assert_eq!(self.started, None, "what was started is not discarded");
        self.is_discarded = true;
        self.world.give(DESTINATION);
    }
}

/// Each file is the one that it is called.
fn check_names(adoption: &Adoption) -> Result<(), VmError> {
    let mut named = vec![(&adoption.memory, "memory".to_owned())];
    for (id, disk) in adoption.disks.iter().flatten() {
        named.push((&disk.image, format!("{id} image")));
        named.extend(disk.direct.iter().map(|file| (file, format!("{id} direct"))));
        let backing = disk.backing.iter().enumerate();
        named.extend(backing.map(|(place, file)| (file, format!("{id} backing {place}"))));
    }
    for (file, name) in named {
        let text = text_of(file)?;
        if text != name {
            return Err(format!("{name} is {text}").into());
        }
    }
    Ok(())
}

//! Names of devices, by which `vm.remove-device` and others know them.
//!
//! A device that was given none gets one as Cloud Hypervisor makes them: `_disk0`, `_net1`, `_vsock2`,
//! where the numbers count all of them together, and `__rng`, `__balloon`, `__console`, `__memory`, `__watchdog` for what there is
//! only one of. Names that begin with two underscores are kept for those.
use std::collections::BTreeSet;

use super::{ConfigError, ConsoleMode, VmConfig};

/// The longest id in bytes.
const MAX_ID: usize = 64;

const DISK: &str = "_disk";
const NET: &str = "_net";
const VSOCK: &str = "_vsock";
const RNG: &str = "__rng";
const BALLOON: &str = "__balloon";
const CONSOLE: &str = "__console";
/// The watchdog's id, in `vm.info` and `vm.counters`.
pub const WATCHDOG_ID: &str = "__watchdog";

/// The id of the device that memory is plugged through, if there is one.
pub const MEMORY_DEVICE: &str = "__memory";

/// A device of which there can be several over time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Disk,
    Net,
    Vsock,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Disk => DISK,
            Self::Net => NET,
            Self::Vsock => VSOCK,
        }
    }
}

/// A new id: its number is one above the highest that was made and is still in use.
pub(super) fn make(kind: Kind, taken: &BTreeSet<String>) -> String {
    let number = |id: &String| {
        let digits = [DISK, NET, VSOCK].iter().find_map(|prefix| id.strip_prefix(prefix))?;
        // Higher ones were chosen by people.
        digits.parse::<u32>().ok()
    };
    let next = taken.iter().filter_map(number).max().map_or(0, |last| u64::from(last) + 1);
    let id = |number: u64| format!("{}{number}", kind.prefix());
    let mut number = next;
    // Goes round at most once for each id that is taken.
    while taken.contains(&id(number)) {
        number += 1;
    }
    id(number)
}

/// What is wrong with an id, if anything is. `own` is what a device of its kind gets by itself.
fn problem(id: &str, own: Option<&str>) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(allowed) {
        return Some(format!(
            "id {id:?}: an id has 1 to {MAX_ID} characters: letters, digits, _ - . and :"
        ));
    }
    if id.starts_with("__") && Some(id) != own {
        return Some(format!("id {id:?}: ids that begin with two underscores are reserved"));
    }
    None
}

impl VmConfig {
    /// The ids that devices have, each with the place of its device in the configuration and the name
    /// that is reserved for it.
    fn ids(&self) -> impl Iterator<Item = (String, &str, Option<&'static str>)> {
        let numbered = |name, index: usize, id| (format!("{name}[{index}]"), id, None);
        let disks = self.disks.iter().enumerate();
        let nets = self.net.iter().enumerate();
        let singles = [
            ("vsock", self.vsock.as_ref().map(|vsock| &vsock.id), None),
            ("rng", self.rng.as_ref().map(|rng| &rng.id), Some(RNG)),
            ("balloon", self.balloon.as_ref().map(|balloon| &balloon.id), Some(BALLOON)),
            ("console", Some(&self.console.id), Some(CONSOLE)),
        ];
        disks
            .map(move |(index, disk)| numbered("disks", index, &disk.id))
            .chain(nets.map(move |(index, net)| numbered("net", index, &net.id)))
            .chain(
                singles.into_iter().filter_map(|(name, id, own)| Some((name.to_owned(), id?, own))),
            )
            .filter_map(|(place, id, own)| Some((place, id.as_deref()?, own)))
            .chain(self.watchdog.then(|| ("watchdog".to_owned(), WATCHDOG_ID, Some(WATCHDOG_ID))))
    }

    /// The ids of all devices that have one.
    pub fn device_ids(&self) -> BTreeSet<String> {
        let memory = (self.memory.hotplug() > 0).then_some(MEMORY_DEVICE);
        self.ids().map(|(_, id, _)| id).chain(memory).map(str::to_owned).collect()
    }

    /// Gives an id to each device that has none. Whatever was valid stays so.
    pub fn name_devices(&mut self) {
        let mut taken = self.device_ids();
        let mut name = |id: &mut Option<String>, kind| {
            let id = id.get_or_insert_with(|| make(kind, &taken));
            taken.insert(id.clone());
        };
        self.disks.iter_mut().for_each(|disk| name(&mut disk.id, Kind::Disk));
        self.net.iter_mut().for_each(|net| name(&mut net.id, Kind::Net));
        if let Some(vsock) = &mut self.vsock {
            name(&mut vsock.id, Kind::Vsock);
        }
        let has_console = self.console.mode != ConsoleMode::Off;
        let singles = [
            (self.rng.as_mut().map(|rng| &mut rng.id), RNG),
            (self.balloon.as_mut().map(|balloon| &mut balloon.id), BALLOON),
            (has_console.then_some(&mut self.console.id), CONSOLE),
        ];
        for (id, own) in singles {
            if let Some(id) = id {
                id.get_or_insert_with(|| own.to_owned());
            }
        }
    }

    /// Each id is well-formed and used once.
    pub(super) fn check_ids(&self) -> Result<(), ConfigError> {
        let mut seen = BTreeSet::new();
        for (place, id, own) in self.ids() {
            if let Some(problem) = problem(id, own) {
                return Err(super::validate::invalid(&place, &problem));
            }
            if !seen.insert(id) {
                return Err(ConfigError::DuplicateId(id.to_owned()));
            }
        }
        Ok(())
    }
}

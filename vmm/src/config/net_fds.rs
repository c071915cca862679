//! Open taps for a VM that comes: descriptors of this process, in place of those that it had in another: `_net0=3:4`.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde_json::Value;

use super::validate::invalid;
use super::{ConfigError, VmConfig};

/// The open taps of one network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetFds {
    /// Its id.
    pub id: String,
    /// A descriptor for each pair of its queues.
    pub fds: Vec<i32>,
}

impl FromStr for NetFds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            // Ids may have colons.
            let (id, fds) = text.rsplit_once('=')?;
            let fds: Result<Vec<i32>, _> = fds.split(':').map(str::parse).collect();
            Some(Self { id: id.to_owned(), fds: fds.ok().filter(|_| !id.is_empty())? })
        };
        parse().ok_or_else(|| format!("{text:?} names no taps; give ID=FD[:FD…], such as _net0=3"))
    }
}

impl VmConfig {
    /// Reads the configuration of a VM that comes from another process, with taps of this one where such are given. Not validated.
    ///
    /// # Errors
    /// It is no configuration; a device has taps that the other process was given, and none are given here; or taps are given for none of
    /// its network devices, or twice.
    pub fn arriving(json: &[u8], given: &[NetFds]) -> Result<Self, ConfigError> {
        let (json, without) = take_numbers(json);
        let mut config = Self::from_json(&json)?;
        let id = |net: &super::NetConfig| net.id.clone().unwrap_or_default();
        let mut seen = BTreeSet::new();
        for NetFds { id: wanted, fds } in given {
            let Some(net) = config.net.iter_mut().find(|net| id(net) == *wanted) else {
                let ids: Vec<_> = config.net.iter().map(id).collect();
                let problem =
                    format!("the VM has no network device {wanted:?}; it has: {}", ids.join(", "));
                return Err(invalid("net_fds", &problem));
            };
            if !seen.insert(wanted) {
                return Err(invalid("net_fds", &format!("{wanted:?} is given twice")));
            }
            net.fds.clone_from(fds);
            // An open tap is used as it is.
            (net.tap, net.ip, net.mask, net.host_mac) = (None, None, None, None);
        }
        let mut missing = without.into_iter().filter_map(|place| config.net.get(place));
        if let Some(net) = missing.find(|net| net.fds.is_empty()) {
            let id = id(net);
            let problem = format!(
                "the tap of {id} was given to the other VMM as a descriptor, which this one does not have; give it one: --net-fds {id}=FD"
            );
            return Err(invalid("net", &problem));
        }
        Ok(config)
    }
}

/// Takes the descriptors out, which mean nothing here; and which devices had some. What is no configuration stays as it is.
fn take_numbers(json: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let mut without = Vec::new();
    let taken = (|| {
        let mut value: Value = serde_json::from_slice(json).ok()?;
        for (place, net) in value.get_mut("net")?.as_array_mut()?.iter_mut().enumerate() {
            if net.as_object_mut().is_some_and(|net| net.remove("fds").is_some()) {
                without.push(place);
            }
        }
        serde_json::to_vec(&value).ok()
    })();
    match taken {
        // As it was where nothing was taken out: what is wrong with it is still to be told.
        Some(taken) if !without.is_empty() => (taken, without),
        _ => (json.to_vec(), without),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Images;

    const VM: &[u8] = br#"{"cpus": {"boot_vcpus": 2}, "net": [{"id": "_net0", "fds": [3, 4], "num_queues": 4}, {"id": "lan", "tap": "tap7", "ip": "10.0.0.1", "mask": "255.0.0.0"}]}"#;

    fn fds(text: &str) -> NetFds {
        text.parse().unwrap()
    }

    #[test]
    fn taps_are_named_by_id_and_numbers() {
        assert_eq!(fds("_net0=3:4"), NetFds { id: "_net0".to_owned(), fds: vec![3, 4] });
        assert_eq!(fds("a:b=5").id, "a:b");
        for text in ["", "=3", "net", "net=", "net=3:", "net=x", "net=3,4"] {
            let problem = text.parse::<NetFds>().unwrap_err();
            assert!(problem.contains("give ID=FD[:FD"), "{problem}");
        }
    }

    #[test]
    fn taps_of_this_process_take_the_place_of_those_of_the_other() {
        let config = VmConfig::arriving(VM, &[fds("_net0=7:8")]).unwrap();
        assert_eq!(config.net[0].fds, [7, 8]);
        assert_eq!(config.net[1].tap.as_deref(), Some("tap7"));
        config.validate_arriving(Images::ByPath).unwrap();
        let config = VmConfig::arriving(VM, &[fds("lan=9"), fds("_net0=7:8")]).unwrap();
        assert_eq!(
            (config.net[1].fds.as_slice(), config.net[1].tap.as_deref()),
            ([9].as_slice(), None)
        );
        config.validate_arriving(Images::ByPath).unwrap();
    }

    #[test]
    fn taps_that_are_missing_or_for_nobody_are_told() {
        for (given, told) in [
            (vec![], "give it one: --net-fds _net0=FD"),
            (vec![fds("lan=3")], "give it one: --net-fds _net0=FD"),
            (vec![fds("wan=3")], "no network device \"wan\"; it has: _net0, lan"),
            (vec![fds("lan=3"), fds("lan=4")], "given twice"),
        ] {
            let error = VmConfig::arriving(VM, &given).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        VmConfig::arriving(b"{\"net\": 1}", &[]).unwrap_err();
        VmConfig::arriving(b"nonsense", &[]).unwrap_err();
        assert_eq!(VmConfig::arriving(b"{}", &[]).unwrap(), VmConfig::from_json(b"{}").unwrap());
    }
}

//! `affinity=[0@[0-3],1@[2,4]]`: the host CPUs that single vCPUs are pinned to.
use std::fmt;

use serde::{Deserialize, Serialize};

use super::validate::MAX_HOST_CPU;
use super::values::{parse_integer, split_list};

/// The host CPUs that one vCPU may run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuAffinity {
    /// Index of the vCPU.
    pub vcpu: u32,
    /// Host CPU numbers.
    pub host_cpus: Vec<usize>,
}

/// What [`parse`] takes, for messages.
pub(super) const EXPECTED: &str =
    "a list of vCPU@[host CPUs], such as [0@[0-3],1@[2,4]], host CPUs up to 1023";

/// The whole list, brackets included.
pub(super) fn parse(text: &str) -> Option<Vec<CpuAffinity>> {
    split_list(text)?.into_iter().map(parse_one).collect()
}

fn parse_one(text: &str) -> Option<CpuAffinity> {
    let (vcpu, host_cpus) = text.split_once('@')?;
    let mut expanded = Vec::new();
    for element in split_list(host_cpus)? {
        let (first, last) = element.split_once('-').unwrap_or((element, element));
        let (first, last) = (parse_integer::<usize>(first)?, parse_integer::<usize>(last)?);
        // Checked before it is expanded: a range is a cheap way to ask for much memory.
        if first > last || last > MAX_HOST_CPU || expanded.len() > MAX_HOST_CPU {
            return None;
        }
        expanded.extend(first..=last);
    }
    Some(CpuAffinity { vcpu: parse_integer(vcpu)?, host_cpus: expanded })
}

impl fmt::Display for CpuAffinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host_cpus: Vec<_> = self.host_cpus.iter().map(usize::to_string).collect();
        write!(f, "{}@[{}]", self.vcpu, host_cpus.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_cpus() {
        let parsed = parse("[0@[0-3],1@[2,4-5]]").expect("valid");
        assert_eq!(
            parsed,
            [
                CpuAffinity { vcpu: 0, host_cpus: vec![0, 1, 2, 3] },
                CpuAffinity { vcpu: 1, host_cpus: vec![2, 4, 5] },
            ]
        );
        assert_eq!(parse("[]"), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_affinity() {
        for text in [
            "",
            "0@[1]",
            "[0@1]",
            "[0]",
            "[0@[3-1]]",
            "[0@[a]]",
            "[x@[1]]",
            "[0@[1-]]",
            "[0@[0-1024]]",
            "[0@[18446744073709551616]]",
            "[0@[0-18446744073709551615]]",
            "[0@[1],]",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

//! Whether taps can be made here, in network namespaces that tests make.
use std::fs::OpenOptions;

/// CAP_NET_ADMIN and CAP_SYS_ADMIN (capabilities(7)).
const NEEDED: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];

/// Why no taps can be made; `None` if they can.
pub fn missing() -> Option<String> {
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        return Some(format!("/dev/net/tun can't be opened: {error}"));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capability = lacking(&status)?;
    Some(format!("taps and network namespaces need {capability}"))
}

/// The first capability that the process with this status lacks.
fn lacking(status: &str) -> Option<&'static str> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let has = |bit: u32| effective.unwrap_or(0) >> bit & 1 != 0;
    NEEDED.iter().find(|(bit, _)| !has(*bit)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::lacking;

    #[test]
    fn capabilities_are_bits_of_the_effective_set() {
        assert_eq!(lacking("CapPrm:\t0\nCapEff:\t000001ffffffffff\n"), None);
        assert_eq!(
            lacking("CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000000\n"),
            Some("CAP_NET_ADMIN")
        );
        assert_eq!(lacking("CapEff:\t0000000000001000\n"), Some("CAP_SYS_ADMIN"));
        assert_eq!(lacking(""), Some("CAP_NET_ADMIN"));
    }
}

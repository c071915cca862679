//! Devices in configurations at random: what is printed is read back, and no text panics.
use std::fmt::{Debug, Display};
use std::net::IpAddr;
use std::str::FromStr;

use proptest::prelude::*;
use vmm::config::{
    BalloonConfig, ConfigError, ConsoleConfig, DiskConfig, ImageType, MacAddr, NetConfig,
    RateLimiterConfig, RngConfig, TokenBucket, VmConfig, VsockConfig,
};

fn text() -> impl Strategy<Value = String> {
    "[\\PC]{1,30}"
}

fn any_limits() -> impl Strategy<Value = RateLimiterConfig> {
    let bucket = || {
        prop::option::of((any::<u64>(), any::<Option<u64>>(), any::<u64>()).prop_map(
            |(size, one_time_burst, refill_time)| TokenBucket { size, one_time_burst, refill_time },
        ))
    };
    (bucket(), bucket()).prop_map(|(bandwidth, ops)| RateLimiterConfig { bandwidth, ops })
}

fn any_disk() -> impl Strategy<Value = DiskConfig> {
    let image_type = prop::sample::select(vec![None, Some(ImageType::Raw), Some(ImageType::Qcow2)]);
    let texts = (text(), prop::option::of(text()), prop::option::of(text()));
    (texts, any::<[bool; 4]>(), any::<u32>(), any::<u16>(), image_type, any_limits()).prop_map(
        |((path, serial, id), toggles, num_queues, queue_size, image_type, limits)| DiskConfig {
            path: path.into(),
            readonly: toggles[0],
            direct: toggles[1],
            num_queues,
            queue_size,
            image_type,
            serial,
            id,
            backing_files: toggles[2],
            disable_io_uring: toggles[3],
            rate_limiter_config: limits,
        },
    )
}

fn any_net() -> impl Strategy<Value = NetConfig> {
    let texts = (prop::option::of(text()), prop::option::of(text()));
    let mac = || any::<Option<[u8; 6]>>().prop_map(|bytes| bytes.map(MacAddr));
    let addresses = (any::<Option<IpAddr>>(), any::<Option<IpAddr>>(), mac(), mac());
    let fds = prop::collection::vec(0..i32::MAX, 0..4);
    let numbers = (any::<Option<u16>>(), any::<u32>(), any::<u16>());
    (texts, addresses, fds, numbers, any::<[bool; 3]>(), any_limits()).prop_map(
        |((tap, id), (ip, mask, mac, host_mac), fds, numbers, toggles, limits)| NetConfig {
            tap,
            ip,
            mask,
            mac,
            host_mac,
            mtu: numbers.0,
            num_queues: numbers.1,
            queue_size: numbers.2,
            id,
            fds,
            offload_tso: toggles[0],
            offload_ufo: toggles[1],
            offload_csum: toggles[2],
            rate_limiter_config: limits,
        },
    )
}

fn any_rng() -> impl Strategy<Value = RngConfig> {
    (text(), prop::option::of(text())).prop_map(|(src, id)| RngConfig { src: src.into(), id })
}

fn any_vsock() -> impl Strategy<Value = VsockConfig> {
    (any::<u64>(), text(), prop::option::of(text())).prop_map(|(cid, socket, id)| VsockConfig {
        cid,
        socket: socket.into(),
        id,
    })
}

fn any_balloon() -> impl Strategy<Value = BalloonConfig> {
    (any::<u64>(), any::<[bool; 2]>(), prop::option::of(text())).prop_map(
        |(size, [deflate_on_oom, free_page_reporting], id)| BalloonConfig {
            size,
            deflate_on_oom,
            free_page_reporting,
            id,
        },
    )
}

fn comes_back<T>(config: &T) -> Result<(), TestCaseError>
where
    T: FromStr<Err = ConfigError> + Display + Debug + PartialEq,
{
    let reread = config.to_string().parse::<T>();
    let reread = reread.map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&reread, config);
    Ok(())
}

/// Text made of the grammar's own parts, which gets deeper into the parsers than noise does.
fn grammar_soup() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "path",
        "id",
        "tap",
        "fd",
        "mac",
        "ip",
        "mask",
        "cid",
        "socket",
        "size",
        "src",
        "bw_size",
        "bw_refill_time",
        "ops_size",
        "num_queues",
        "queue_size",
        "=",
        ",",
        "[",
        "]",
        ":",
        "\"",
        "0",
        "1",
        "99999999999999999999",
        "on",
        "off",
        "raw",
        "52:54:00:12:34:56",
        "10.0.0.1",
        "é",
    ]);
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn devices_print_and_parse(
        disk in any_disk(),
        net in any_net(),
        rng in any_rng(),
        vsock in any_vsock(),
        balloon in any_balloon(),
    ) {
        comes_back(&disk)?;
        comes_back(&net)?;
        comes_back(&rng)?;
        comes_back(&vsock)?;
        comes_back(&balloon)?;
        // Descriptors are no part of the JSON that is read.
        let net = NetConfig { fds: Vec::new(), ..net };
        let config = VmConfig {
            disks: vec![disk],
            net: vec![net],
            rng: Some(rng),
            vsock: Some(vsock),
            balloon: Some(balloon),
            ..VmConfig::default()
        };
        let text = serde_json::to_vec(&config).expect("serialisable");
        prop_assert_eq!(VmConfig::from_json(&text), Ok(config.clone()));
        let _ = config.validate();
        let mut named = config;
        named.name_devices();
        prop_assert!(named.device_ids().len() <= 5);
    }

    #[test]
    fn no_text_panics(noise: String, soup in grammar_soup()) {
        for text in [&noise, &soup] {
            let _ = (text.parse::<DiskConfig>(), text.parse::<NetConfig>(), text.parse::<RngConfig>());
            let _ = (text.parse::<VsockConfig>(), text.parse::<BalloonConfig>());
            let _ = ConsoleConfig::parse_console(text);
        }
    }
}

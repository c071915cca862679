//! The body of `vm.create`: no bytes panic, nothing is ignored in silence, what is read writes as
//! what reads as the same again, and whatever is wrong is told in one line.
#![no_main]
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use vmm::config::{ConfigError, VmConfig};

fn one_line(error: &ConfigError) {
    let message = error.to_string();
    assert!(!message.contains(char::is_control), "{message:?}");
}

/// Whether `read` has everything that `given` asks for. Null asks for nothing; a field that is
/// not in `read` must ask for nothing in some other way.
fn is_kept(given: &Value, read: Option<&Value>) -> bool {
    match (given, read) {
        (Value::Null, _) => true,
        (Value::Object(given), Some(Value::Object(read))) => {
            given.iter().all(|(name, value)| is_kept(value, read.get(name)))
        }
        (Value::Array(given), Some(Value::Array(read))) => {
            given.len() == read.len()
                && given.iter().zip(read).all(|(given, read)| is_kept(given, Some(read)))
        }
        // Addresses are written in one form, whatever they were given in.
        (Value::String(given), Some(Value::String(read))) => {
            given == read
                || given.eq_ignore_ascii_case(read)
                || given.parse::<std::net::IpAddr>().is_ok_and(|address| {
                    read.parse().is_ok_and(|other: std::net::IpAddr| address == other)
                })
        }
        (given, Some(read)) => given == read,
        (given, None) => asks_for_nothing(given),
    }
}

/// What Cloud Hypervisor's defaults look like.
fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) => true,
        Value::Number(number) => {
            number.as_f64().is_some_and(|number| [0.0, 1.0, 46.0, 64.0, 233.0].contains(&number))
        }
        Value::String(text) => ["", "Vm", "Off", "Acpi", "Unknown", "Client", "ByteRange", "Full"]
            .contains(&text.as_str()),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.values().all(asks_for_nothing),
    }
}

fuzz_target!(|bytes: &[u8]| {
    match VmConfig::from_json(bytes) {
        Err(error) => one_line(&error),
        Ok(config) => {
            let written = serde_json::to_vec(&config).expect("a configuration is JSON");
            assert_eq!(VmConfig::from_json(&written).as_ref(), Ok(&config));
            let given: Value = serde_json::from_slice(bytes).expect("it was read");
            let read: Value = serde_json::from_slice(&written).expect("it was written");
            assert!(is_kept(&given, Some(&read)), "{given} was read as {read}");
            if let Err(error) = config.validate() {
                one_line(&error);
            }
        }
    }
});

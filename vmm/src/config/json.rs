//! `VmConfig` from the JSON of `vm.create`, with errors that name the field.
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::{ConfigError, JsonError, one_line};
use super::nearest::nearest;
use super::strict::Strict;
use super::unsupported::{Section, first_request};
use super::{
    DiskConfig, NetConfig, ReceiveMigrationConfig, RemoveDeviceConfig, ResizeConfig,
    ResizeDiskConfig, ResolveConfig, RestoreConfig, SendMigrationConfig, SnapshotConfig, VmConfig,
    VsockConfig,
};

const OBJECTS: [(&str, Section); 8] = [
    ("cpus", Section::Cpus),
    ("memory", Section::Memory),
    ("payload", Section::Payload),
    ("serial", Section::Serial),
    ("console", Section::Console),
    ("rng", Section::Rng),
    ("vsock", Section::Vsock),
    ("balloon", Section::Balloon),
];

const LISTS: [(&str, Section); 3] =
    [("disks", Section::Disk), ("net", Section::Net), ("numa", Section::Numa)];

impl VmConfig {
    /// Reads the body of `vm.create`. What is left out or null has its default. Not validated.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ConfigError> {
        let mut value = parse(bytes)?;
        let vm = object("the configuration", &mut value)?;
        clean(Section::Vm, "", vm)?;
        for (name, section) in OBJECTS {
            if let Some(member) = vm.get_mut(name) {
                clean(section, &format!("{name}."), object(&format!("{name:?}"), member)?)?;
            }
        }
        for (name, section) in LISTS {
            if let Some(member) = vm.get_mut(name) {
                clean_list(section, name, member)?;
            }
        }
        if let Some(memory) = vm.get_mut("memory").and_then(Value::as_object_mut)
            && let Some(zones) = memory.get_mut("zones")
        {
            clean_list(Section::MemoryZone, "memory.zones", zones)?;
            if zones != &Value::Array(Vec::new()) {
                // They have sizes of their own.
                memory.entry("size").or_insert(0.into());
            }
        }
        if let Some(cpus) = vm.get_mut("cpus").and_then(Value::as_object_mut)
            && let Some(boot) = cpus.get("boot_vcpus").cloned()
        {
            cpus.entry("max_vcpus").or_insert(boot);
        }
        read(value)
    }
}

/// A request's body that is one object.
macro_rules! from_json {
    ($($type:ty, $section:expr, $endpoint:literal;)*) => {$(
        impl $type {
            #[doc = concat!("Reads the body of `", $endpoint, "`. Not validated.")]
            pub fn from_json(bytes: &[u8]) -> Result<Self, ConfigError> {
                let mut value = parse(bytes)?;
                clean($section, "", object("the body", &mut value)?)?;
                read(value)
            }
        }
    )*};
}
from_json! {
    DiskConfig, Section::Disk, "vm.add-disk";
    NetConfig, Section::Net, "vm.add-net";
    VsockConfig, Section::Vsock, "vm.add-vsock";
    RemoveDeviceConfig, Section::RemoveDevice, "vm.remove-device";
    ResizeDiskConfig, Section::ResizeDisk, "vm.resize-disk";
    ResizeConfig, Section::Resize, "vm.resize";
    SnapshotConfig, Section::Snapshot, "vm.snapshot";
    RestoreConfig, Section::Restore, "vm.restore";
    SendMigrationConfig, Section::SendMigration, "vm.send-migration";
    ReceiveMigrationConfig, Section::ReceiveMigration, "vm.receive-migration";
    ResolveConfig, Section::Resolve, "vm.migration-resolve";
}

fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let parsed: Result<Strict, _> = serde_json::from_slice(bytes);
    parsed.map(|Strict(value)| value).map_err(|error| JsonError::Malformed(error.to_string()))
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, ConfigError> {
    Ok(serde_path_to_error::deserialize(value).map_err(|error| JsonError::Value {
        path: error.path().to_string(),
        problem: one_line(&error.inner().to_string()),
    })?)
}

fn object<'a>(path: &str, value: &'a mut Value) -> Result<&'a mut Map<String, Value>, JsonError> {
    let found = kind(value);
    let wrong = || JsonError::WrongKind { path: path.to_owned(), expected: "object", found };
    value.as_object_mut().ok_or_else(wrong)
}

fn array<'a>(path: &str, value: &'a mut Value) -> Result<&'a mut Vec<Value>, JsonError> {
    let found = kind(value);
    let wrong = || JsonError::WrongKind { path: path.to_owned(), expected: "array", found };
    value.as_array_mut().ok_or_else(wrong)
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Takes out nulls and unsupported fields that ask for nothing; refuses everything else that is
/// not supported.
fn clean(
    section: Section,
    prefix: &str,
    members: &mut Map<String, Value>,
) -> Result<(), JsonError> {
    let allowed = section.supported();
    for (name, value) in members.iter() {
        if allowed.contains(&name.as_str()) {
            continue;
        }
        let path = format!("{prefix}{name}");
        let Some(idle) = section.unsupported_field(name) else {
            let nearest = nearest(name, allowed.iter().copied()).map(str::to_owned);
            return Err(JsonError::UnknownField { path, nearest, allowed });
        };
        if let Some(path) = first_request(idle, &path, value) {
            return Err(JsonError::Unsupported { path });
        }
    }
    // Older descriptions have "Unknown" for an image whose format is to be found out.
    let is_unset = |name: &str, value: &Value| {
        value.is_null() || section == Section::Disk && name == "image_type" && value == "Unknown"
    };
    members.retain(|name, value| allowed.contains(&name.as_str()) && !is_unset(name, value));
    Ok(())
}

/// The same for a list of objects.
fn clean_list(section: Section, name: &str, member: &mut Value) -> Result<(), JsonError> {
    for (index, element) in array(&format!("{name:?}"), member)?.iter_mut().enumerate() {
        let path = format!("{name}[{index}]");
        clean(section, &format!("{path}."), object(&format!("{path:?}"), element)?)?;
    }
    Ok(())
}

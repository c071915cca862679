//! `VmConfig` from the JSON of `vm.create`, with errors that name the field.
use serde_json::{Map, Value};

use super::VmConfig;
use super::error::{ConfigError, JsonError, one_line};
use super::nearest::nearest;
use super::strict::Strict;
use super::unsupported::{Section, first_request};

const SECTIONS: [(&str, Section); 5] = [
    ("cpus", Section::Cpus),
    ("memory", Section::Memory),
    ("payload", Section::Payload),
    ("serial", Section::Console),
    ("console", Section::Console),
];

impl VmConfig {
    /// Reads the body of `vm.create`. What is left out or null has its default. Not validated.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ConfigError> {
        let Strict(mut value) = serde_json::from_slice(bytes)
            .map_err(|error| JsonError::Malformed(error.to_string()))?;
        let vm = object("the configuration", &mut value)?;
        clean(Section::Vm, "", vm)?;
        for (name, section) in SECTIONS {
            if let Some(member) = vm.get_mut(name) {
                clean(section, &format!("{name}."), object(&format!("{name:?}"), member)?)?;
            }
        }
        if let Some(cpus) = vm.get_mut("cpus").and_then(Value::as_object_mut)
            && let Some(boot) = cpus.get("boot_vcpus").cloned()
        {
            cpus.entry("max_vcpus").or_insert(boot);
        }
        Ok(serde_path_to_error::deserialize(value).map_err(|error| JsonError::Value {
            path: error.path().to_string(),
            problem: one_line(&error.inner().to_string()),
        })?)
    }
}

fn object<'a>(path: &str, value: &'a mut Value) -> Result<&'a mut Map<String, Value>, JsonError> {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(members) => return Ok(members),
    };
    Err(JsonError::NotAnObject { path: path.to_owned(), found })
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
    members.retain(|name, value| allowed.contains(&name.as_str()) && !value.is_null());
    Ok(())
}

//! The units of devices that are always at the same place: clock, debug port, serial port, general event device, CPU hotplug.

use devices::cpu_hotplug::SavedCpuHotplug;
use devices::rtc::SavedRtc;
use devices::serial::SavedSerial;
use migration::format::{StateReader, StateWriter, Unit};
use serde::{Deserialize, Serialize};

use super::of;
use crate::vm::Vm;
use crate::vm::state::StateError;

#[derive(Serialize, Deserialize)]
struct RtcUnit(SavedRtc);

impl Unit for RtcUnit {
    const KIND: &'static str = "rtc";
    const VERSION: u16 = 1;
}

/// The code that was written last.
#[derive(Serialize, Deserialize)]
struct DebugPortUnit(u8);

impl Unit for DebugPortUnit {
    const KIND: &'static str = "debug-port";
    const VERSION: u16 = 1;
}

#[derive(Serialize, Deserialize)]
struct SerialUnit(SavedSerial);

impl Unit for SerialUnit {
    const KIND: &'static str = "serial";
    const VERSION: u16 = 1;
}

/// Events that the guest has not read yet.
#[derive(Serialize, Deserialize)]
struct GedUnit(u32);

impl Unit for GedUnit {
    const KIND: &'static str = "ged";
    const VERSION: u16 = 1;
}

#[derive(Serialize, Deserialize)]
struct CpuHotplugUnit(SavedCpuHotplug);

impl Unit for CpuHotplugUnit {
    const KIND: &'static str = "cpu-hotplug";
    const VERSION: u16 = 1;
}

/// All of these, taken.
pub(super) struct Fixed {
    rtc: RtcUnit,
    debug: DebugPortUnit,
    serial: Option<SerialUnit>,
    ged: GedUnit,
    cpu_hotplug: CpuHotplugUnit,
}

impl Fixed {
    pub(super) fn save(vm: &Vm, units: &mut StateWriter) -> Result<(), StateError> {
        let legacy = &vm.legacy;
        units.put(&RtcUnit(legacy.rtc.save()))?;
        units.put(&DebugPortUnit(legacy.debug.code()))?;
        if let Some(serial) = &legacy.serial {
            units.put(&SerialUnit(serial.save()))?;
        }
        units.put(&GedUnit(vm.root.ged().save()))?;
        Ok(units.put(&CpuHotplugUnit(vm.cpu_hotplug().save()))?)
    }

    pub(super) fn take(vm: &Vm, units: &mut StateReader<'_>) -> Result<Self, StateError> {
        Ok(Self {
            rtc: units.take()?,
            debug: units.take()?,
            serial: vm.legacy.serial.is_some().then(|| units.take()).transpose()?,
            ged: units.take()?,
            cpu_hotplug: units.take()?,
        })
    }

    /// Whether all of them fit.
    pub(super) fn check(&self, vm: &Vm) -> Result<(), StateError> {
        let Self { rtc, debug: _, serial, ged, cpu_hotplug } = self;
        vm.legacy.rtc.check(&rtc.0).map_err(of(RtcUnit::KIND))?;
        if let Some((port, unit)) = vm.legacy.serial.as_ref().zip(serial.as_ref()) {
            port.check(&unit.0).map_err(of(SerialUnit::KIND))?;
        }
        vm.root.ged().check(ged.0).map_err(of(GedUnit::KIND))?;
        vm.cpu_hotplug().check(&cpu_hotplug.0).map_err(of(CpuHotplugUnit::KIND))
    }

    pub(super) fn restore(self, vm: &mut Vm) -> Result<(), StateError> {
        let Self { rtc, debug, serial, ged, cpu_hotplug } = self;
        vm.legacy.rtc.restore(&rtc.0).map_err(of(RtcUnit::KIND))?;
        vm.legacy.debug.restore(debug.0);
        if let Some((port, unit)) = vm.legacy.serial.as_ref().zip(serial.as_ref()) {
            port.restore(&unit.0).map_err(of(SerialUnit::KIND))?;
        }
        vm.cpu_hotplug().restore(&cpu_hotplug.0).map_err(of(CpuHotplugUnit::KIND))?;
        vm.root.ged().restore(ged.0).map_err(of(GedUnit::KIND))
    }
}

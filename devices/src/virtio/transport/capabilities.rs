//! The configuration space of a virtio device: what it is, and where its registers are (virtio 1.2, 4.1.2 and 4.1.4).

use super::layout::{
    BAR, BAR_LEN, COMMON, DEVICE, ISR, MSIX_PENDING, MSIX_TABLE, NOTIFY, NOTIFY_MULTIPLIER,
};
use super::window::Window;
use crate::pci::{BarSpace, ConfigBuilder, ConfigError, ConfigSpace, Identity, MsixPlacement};
use crate::virtio::device::DeviceType;

/// Red Hat's, which virtio devices have (4.1.2).
const VENDOR: u16 = 0x1af4;
/// Device ids of modern devices begin here.
const FIRST_DEVICE: u16 = 0x1040;
/// Modern devices have 1 or higher (4.1.2.1).
const REVISION: u8 = 1;
/// A vendor's capability.
const VENDOR_SPECIFIC: u8 = 0x09;

/// `cfg_type` (4.1.4).
#[derive(Clone, Copy)]
enum Structure {
    Common = 1,
    Notify = 2,
    Isr = 3,
    Device = 4,
    PciCfg = 5,
}

/// Base class, sub-class and programming interface. Drivers do not look at them; people do.
const fn class(device: DeviceType) -> u32 {
    match device {
        DeviceType::Net => 0x02_0000,
        DeviceType::Block => 0x01_8000,
        DeviceType::Console | DeviceType::Vsock => 0x07_8000,
        DeviceType::Rng | DeviceType::Balloon | DeviceType::Mem => 0xff_0000,
    }
}

/// The space, and where its window is.
pub(super) fn config_space(
    device: DeviceType,
    vectors: u16,
) -> Result<(ConfigSpace, Window), ConfigError> {
    let id = FIRST_DEVICE + device as u16;
    let mut builder = ConfigBuilder::new(Identity {
        vendor: VENDOR,
        device: id,
        revision: REVISION,
        class: class(device),
        subsystem_vendor: VENDOR,
        subsystem: id,
    });
    builder.add_bar(BAR, BarSpace::Memory64, BAR_LEN.into())?;
    let fixed = |structure, first: u32, len: u32| capability(structure, first, len, 0);
    for bytes in [
        fixed(Structure::Common, COMMON, ISR - COMMON),
        fixed(Structure::Isr, ISR, DEVICE - ISR),
        fixed(Structure::Device, DEVICE, NOTIFY - DEVICE),
    ] {
        builder.add_capability(&bytes[..16], &[0; 16])?;
    }
    let notify = capability(Structure::Notify, NOTIFY, MSIX_TABLE - NOTIFY, NOTIFY_MULTIPLIER);
    builder.add_capability(&notify, &[0; 20])?;
    let window = capability(Structure::PciCfg, 0, 0, 0);
    let mut writable = [0; 20];
    writable[4] = 0xff;
    writable[8..].fill(0xff);
    let window = Window::at(builder.add_capability(&window, &writable)?);
    builder.add_msix(MsixPlacement {
        vectors,
        table_bar: BAR,
        table_offset: MSIX_TABLE,
        pending_bar: BAR,
        pending_offset: MSIX_PENDING,
    })?;
    Ok((builder.build(), window))
}

/// `struct virtio_pci_cap` and one more word, which notifications and the window have.
fn capability(structure: Structure, first: u32, len: u32, last: u32) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[0] = VENDOR_SPECIFIC;
    bytes[2] = match structure {
        Structure::Notify | Structure::PciCfg => 20,
        Structure::Common | Structure::Isr | Structure::Device => 16,
    };
    bytes[3] = structure as u8;
    bytes[4] = BAR.0;
    bytes[8..12].copy_from_slice(&first.to_le_bytes());
    bytes[12..16].copy_from_slice(&len.to_le_bytes());
    bytes[16..].copy_from_slice(&last.to_le_bytes());
    bytes
}

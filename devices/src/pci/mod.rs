//! PCI (PCI Local Bus 3.0): functions, their configuration space and interrupts.

mod config;
mod function;
mod msix;
mod platform;

pub use config::{
    BARS, BarSpace, BarState, CONFIG_LEN, ConfigBuilder, ConfigError, ConfigSpace, Identity,
};
pub use function::{BarDoorbell, BarIndex, PciFunction};
pub use msix::{ENTRY_LEN, MAX_VECTORS, Msix, MsixControl, MsixPlacement};
pub use platform::{MsiLine, MsiMessage, PciPlatform};

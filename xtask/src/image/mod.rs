//! Making what a machine boots from: kernels, modules, and initial file systems.
pub mod bzimage;
pub mod cpio;
pub mod elf;
pub mod fio;
pub mod guest;
pub mod modules;
pub mod tree;

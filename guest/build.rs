//! Assembles the embedded guest and writes it as an ELF image into `OUT_DIR`.

#![expect(clippy::wildcard_imports, reason = "the registers of assembly code")]

mod asm;

// The same sources as the library's, so that guest and host cannot disagree.
#[path = "src/layout.rs"]
mod layout;
#[path = "src/mode.rs"]
#[expect(dead_code, reason = "decoding a mode is the host's part")]
mod mode;

#[path = "src/phase.rs"]
#[expect(dead_code, reason = "decoding a phase is the host's part")]
mod phase;

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=asm");
    println!("cargo::rerun-if-changed=src/layout.rs");
    println!("cargo::rerun-if-changed=src/mode.rs");
    println!("cargo::rerun-if-changed=src/phase.rs");
    let out = env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?;
    fs::write(PathBuf::from(out).join("guest.elf"), asm::image()?)?;
    Ok(())
}

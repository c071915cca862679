//! Assembles the embedded guest and writes it as an ELF image into `OUT_DIR`.

#![expect(clippy::wildcard_imports, reason = "the registers of assembly code")]

mod asm;

#[path = "src/driver.rs"]
#[expect(dead_code, reason = "commands are the program's and the host's part")]
mod driver;

// The same sources as the library's, so that guest and host cannot disagree.
#[path = "src/layout.rs"]
mod layout;
#[path = "src/mode.rs"]
#[expect(dead_code, reason = "decoding a mode is the host's part")]
mod mode;

#[path = "src/phase.rs"]
#[expect(dead_code, reason = "decoding a phase is the host's part")]
mod phase;

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=asm");
    println!("cargo::rerun-if-changed=src/layout.rs");
    println!("cargo::rerun-if-changed=src/mode.rs");
    println!("cargo::rerun-if-changed=src/phase.rs");
    println!("cargo::rerun-if-changed=src/driver.rs");
    println!("cargo::rerun-if-changed=driver");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?);
    fs::write(out.join("guest.elf"), asm::image()?)?;
    let program = compile_driver(&out)?;
    fs::write(out.join("driver-guest.elf"), asm::driver_image(program)?)?;
    Ok(())
}

/// Compiles the driver program, which needs neither the standard library nor a target of its own, and gives its one
/// segment.
fn compile_driver(out: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let rustc = env::var_os("RUSTC").ok_or("cargo did not set RUSTC")?;
    let elf = out.join("driver-program.elf");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("no manifest directory")?);
    let mut compile = Command::new(rustc);
    compile.args(["--edition", "2024", "--crate-name", "driver", "-O", "-C", "panic=abort"]);
    compile.args(["-C", "relocation-model=static", "-C", "strip=symbols", "-D", "warnings"]);
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-Wl,--build-id=none"] {
        compile.arg("-C").arg(format!("link-arg={argument}"));
    }
    let script = root.join("driver/link.ld");
    compile.arg("-C").arg(format!("link-arg=-Wl,-T,{}", script.display()));
    compile.arg(root.join("driver/main.rs")).arg("-o").arg(&elf);
    // What instruments the rest of the build (sanitizers, coverage) has no place in a guest.
    compile.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    if !compile.status()?.success() {
        return Err("the driver program does not compile".into());
    }
    only_segment(&fs::read(&elf)?)
}

/// The bytes of an ELF64 file's one loadable segment, which the linker script puts at the driver's address.
fn only_segment(elf: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let field = |at: usize, size: usize| -> Result<u64, Box<dyn Error>> {
        let bytes = elf.get(at..at + size).ok_or("a short ELF file")?;
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let (table, count) = (usize::try_from(field(32, 8)?)?, usize::try_from(field(56, 2)?)?);
    let mut bytes = Vec::new();
    for header in (0..count).map(|index| table + 56 * index) {
        // p_type PT_LOAD, and something in the file.
        if field(header, 4)? != 1 || field(header + 32, 8)? == 0 {
            continue;
        }
        let address = field(header + 16, 8)?;
        let start = usize::try_from(field(header + 8, 8)?)?;
        let size = usize::try_from(field(header + 32, 8)?)?;
        let at = usize::try_from(address.checked_sub(driver::CODE).ok_or("a wrong address")?)?;
        // What the file leaves out at the end (.bss) is RAM that reads as zeros.
        bytes.resize(bytes.len().max(at + size), 0);
        bytes[at..at + size].copy_from_slice(elf.get(start..start + size).ok_or("short")?);
    }
    Ok(bytes)
}

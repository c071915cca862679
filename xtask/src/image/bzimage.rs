//! The ELF kernel inside a bzImage.
//!
//! A bzImage is its real-mode sectors, then a decompressor that carries the ELF as its payload; the setup header says
//! where (kernel: `Documentation/arch/x86/boot.rst`, `payload_offset`, protocol 2.08). Debian's cloud
//! kernel packs it in LZ4's legacy frame: a magic number, then blocks of a 32-bit length and as many bytes, each of which
//! unpacks to 8 MiB (the last to less); the kernel's build appends the unpacked size.
use anyhow::{Context, Result, bail};

const SETUP_SECTS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const LZ4_LEGACY: u32 = 0x184c_2102;
const LZ4_BLOCK: usize = 8 << 20;

/// Unpacks the ELF `vmlinux` that `image` carries.
pub fn vmlinux(image: &[u8]) -> Result<Vec<u8>> {
    if image.get(MAGIC..MAGIC + 4) != Some(b"HdrS") {
        bail!("not a bzImage: no \"HdrS\" at offset {MAGIC:#x}");
    }
    let version = u32_at(image, VERSION)? & 0xffff;
    if version < 0x208 {
        bail!("boot protocol {version:#x} does not say where the payload is; 0x208 does");
    }
    // 0 means 4 for compatibility, says the boot protocol.
    let setup_sectors = match image.get(SETUP_SECTS) {
        Some(0) | None => 4,
        Some(sectors) => usize::from(*sectors),
    };
    let start = (setup_sectors + 1) * 512 + u32_at(image, PAYLOAD_OFFSET)? as usize;
    let end = start + u32_at(image, PAYLOAD_LENGTH)? as usize;
    let payload = image.get(start..end).with_context(|| {
        format!("truncated: payload at {start:#x}..{end:#x}, {} bytes in all", image.len())
    })?;
    let elf = unpack_lz4(payload)?;
    if !elf.starts_with(b"\x7fELF") {
        bail!("the payload is no ELF file");
    }
    Ok(elf)
}

fn unpack_lz4(payload: &[u8]) -> Result<Vec<u8>> {
    let magic = u32_at(payload, 0)?;
    if magic != LZ4_LEGACY {
        bail!(
            "the payload starts with {magic:#010x}; only LZ4's legacy frame ({LZ4_LEGACY:#x}) is understood"
        );
    }
    // The last word is the unpacked size.
    let (blocks, size) = payload.split_at(payload.len().saturating_sub(4).max(4));
    let size = u32_at(size, 0)? as usize;
    let mut out = Vec::new();
    let mut block = vec![0; LZ4_BLOCK];
    let mut at = 4;
    while at < blocks.len() {
        let length = u32_at(blocks, at)? as usize;
        let packed =
            blocks.get(at + 4..at + 4 + length).context("the payload ends within a block")?;
        let unpacked = lz4_flex::block::decompress_into(packed, &mut block)
            .context("the payload is damaged")?;
        out.extend_from_slice(&block[..unpacked]);
        at += 4 + length;
    }
    if out.len() != size {
        bail!("the payload unpacks to {} bytes; it says {size}", out.len());
    }
    Ok(out)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let field = bytes.get(at..at + 4).and_then(|field| field.try_into().ok());
    Ok(u32::from_le_bytes(field.with_context(|| format!("ends before offset {at:#x} + 4"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bzImage whose payload, in one LZ4 block of literals, is `elf`.
    fn image(elf: &[u8]) -> Vec<u8> {
        let block = lz4_flex::block::compress(elf);
        let mut payload = LZ4_LEGACY.to_le_bytes().to_vec();
        payload.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
        payload.extend(block);
        payload.extend(u32::try_from(elf.len()).unwrap().to_le_bytes());
        let mut image = vec![0; 1024];
        image[SETUP_SECTS] = 1;
        image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        image[VERSION..VERSION + 2].copy_from_slice(&0x20f_u16.to_le_bytes());
        let length = u32::try_from(payload.len()).unwrap();
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        image.extend(payload);
        image
    }

    #[test]
    fn payload_is_unpacked() {
        let elf = [b"\x7fELF".as_slice(), &[7; 5000]].concat();
        assert_eq!(vmlinux(&image(&elf)).unwrap(), elf);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = image(b"\x7fELF and more");
        for length in 0..whole.len() {
            assert!(vmlinux(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn every_damaged_byte_gives_an_answer() {
        let whole = image(b"\x7fELF and more");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let _ = vmlinux(&damaged);
        }
    }
}

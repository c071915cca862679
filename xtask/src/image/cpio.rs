//! The initramfs format: cpio, "newc" flavour, as Linux unpacks it at boot.
//!
//! An entry is a header of 110 ASCII bytes (a magic and thirteen 8-digit hexadecimal fields), the name
//! with its NUL, and the data; name and data are each padded to a multiple of 4. The entry
//! `TRAILER!!!` ends the archive. Source: the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.
//!
//! Invariant: [`Archive::data`] is a multiple of 4 bytes long between any two calls.

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Whether a file can be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mode 0644.
    Data,
    /// Mode 0755.
    Program,
}

/// An archive that grows in memory.
#[derive(Default)]
pub struct Archive {
    data: Vec<u8>,
    inode: u32,
}

impl Archive {
    /// Adds a directory; its parents must have been added before.
    pub fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY, (0, 0), &[]);
    }

    /// Adds a file with these bytes. The format allows less than 4 GiB.
    pub fn file(&mut self, name: &str, kind: Kind, bytes: &[u8]) {
        let mode = match kind {
            Kind::Data => FILE,
            Kind::Program => PROGRAM,
        };
        self.entry(name, mode, (0, 0), bytes);
    }

    /// Adds a character device, for the kernel to open before anything is mounted.
    pub fn character_device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, CHARACTER_DEVICE, (major, minor), &[]);
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.data
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), bytes: &[u8]) {
        self.inode += 1;
        let name = name.trim_start_matches('/');
        let fields = [
            self.inode as usize,
            mode as usize,
            0, // user
            0, // group
            1, // links
            0, // time
            bytes.len(),
            0, // device that holds it, major
            0, // and minor
            device.0 as usize,
            device.1 as usize,
            name.len() + 1,
            0, // checksum, unused in this flavour
        ];
        self.data.extend_from_slice(b"070701");
        for field in fields {
            self.data.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.data.extend_from_slice(name.as_bytes());
        self.data.push(0);
        self.pad();
        self.data.extend_from_slice(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        self.data.resize(self.data.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Names, modes and data, read the way the kernel does.
    fn read(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let whole = archive.len();
        let mut entries = Vec::new();
        loop {
            assert_eq!(&archive[..6], b"070701");
            let field = |index: usize| {
                let digits = std::str::from_utf8(&archive[6 + index * 8..14 + index * 8]).unwrap();
                usize::from_str_radix(digits, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6), field(11));
            let name = String::from_utf8(archive[110..110 + name_size - 1].to_vec()).unwrap();
            let data = (110 + name_size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                assert_eq!(archive.len(), data);
                return entries;
            }
            entries.push((name, u32::try_from(mode).unwrap(), archive[data..data + size].to_vec()));
            archive = &archive[(data + size).next_multiple_of(4)..];
            assert_eq!((whole - archive.len()) % 4, 0);
        }
    }

    #[test]
    fn kinds_have_their_modes() {
        let mut archive = Archive::default();
        archive.directory("dir");
        archive.file("/dir/data", Kind::Data, b"x");
        archive.file("dir/run", Kind::Program, b"yz");
        archive.character_device("null", 1, 3);

        let entries = read(&archive.finish());

        let expected: [(&str, u32, &[u8]); 4] = [
            ("dir", 0o040_755, b""),
            ("dir/data", 0o100_644, b"x"),
            ("dir/run", 0o100_755, b"yz"),
            ("null", 0o020_600, b""),
        ];
        for (entry, (name, mode, data)) in entries.iter().zip(expected) {
            assert_eq!((entry.0.as_str(), entry.1, entry.2.as_slice()), (name, mode, data));
        }
        assert_eq!(entries.len(), expected.len());
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            files in prop::collection::vec(("[a-z]{1,9}", prop::collection::vec(any::<u8>(), 0..40)), 0..9)
        ) {
            let mut archive = Archive::default();
            for (name, data) in &files {
                archive.file(name, Kind::Data, data);
            }
            let entries = read(&archive.finish());
            let back: Vec<_> = entries.into_iter().map(|(name, _, data)| (name, data)).collect();
            prop_assert_eq!(back, files);
        }
    }
}

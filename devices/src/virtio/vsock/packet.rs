//! The header of a packet (virtio 1.2, 5.10.6): 44 bytes, little-endian, before each payload.

/// Bytes of a header.
pub(super) const HEADER_LEN: usize = 44;
/// The host's context id (5.10.4).
pub(super) const HOST_CID: u64 = 2;
/// VIRTIO_VSOCK_TYPE_STREAM (5.10.6.1): the only type that is offered.
pub(super) const TYPE_STREAM: u16 = 1;
/// A payload is at most this long, as Linux has it; a longer one is malformed.
pub(super) const MAX_PAYLOAD: u32 = 64 << 10;

/// VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE and _SEND (5.10.6.5): what the sender of a SHUTDOWN will do no more.
pub(super) mod done {
    pub(in super::super) const RECEIVE: u32 = 1;
    pub(in super::super) const SEND: u32 = 2;
    pub(in super::super) const BOTH: u32 = RECEIVE | SEND;
}

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Op {
    Request = 1,
    Response = 2,
    Reset = 3,
    Shutdown = 4,
    Data = 5,
    CreditUpdate = 6,
    CreditRequest = 7,
}

impl Op {
    pub(super) fn from_raw(raw: u16) -> Option<Self> {
        Some(match raw {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Reset,
            4 => Self::Shutdown,
            5 => Self::Data,
            6 => Self::CreditUpdate,
            7 => Self::CreditRequest,
            _ => return None,
        })
    }
}

/// `struct virtio_vsock_hdr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) src_cid: u64,
    pub(super) dst_cid: u64,
    pub(super) src_port: u32,
    pub(super) dst_port: u32,
    /// Bytes of payload that follow.
    pub(super) len: u32,
    pub(super) kind: u16,
    pub(super) op: u16,
    pub(super) flags: u32,
    /// The sender's whole room for this connection.
    pub(super) buf_alloc: u32,
    /// How many bytes the sender has got rid of so far, modulo 2³².
    pub(super) fwd_cnt: u32,
}

impl Header {
    pub(super) fn parse(bytes: &[u8; HEADER_LEN]) -> Self {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at| u32::from(u16_at(at + 2)) << 16 | u32::from(u16_at(at));
        let u64_at = |at| u64::from(u32_at(at + 4)) << 32 | u64::from(u32_at(at));
        Self {
            src_cid: u64_at(0),
            dst_cid: u64_at(8),
            src_port: u32_at(16),
            dst_port: u32_at(20),
            len: u32_at(24),
            kind: u16_at(28),
            op: u16_at(30),
            flags: u32_at(32),
            buf_alloc: u32_at(36),
            fwd_cnt: u32_at(40),
        }
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&self.src_cid.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.dst_cid.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.src_port.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.dst_port.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.len.to_le_bytes());
        bytes[28..30].copy_from_slice(&self.kind.to_le_bytes());
        bytes[30..32].copy_from_slice(&self.op.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.flags.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.buf_alloc.to_le_bytes());
        bytes[40..].copy_from_slice(&self.fwd_cnt.to_le_bytes());
        bytes
    }

    /// The reset that answers this packet.
    pub(super) fn reset(&self) -> Self {
        Self {
            src_cid: self.dst_cid,
            dst_cid: self.src_cid,
            src_port: self.dst_port,
            dst_port: self.src_port,
            kind: self.kind,
            op: Op::Reset as u16,
            ..Self::default()
        }
    }

    /// The connection that a packet of the guest belongs to.
    pub(super) fn key(&self) -> Key {
        Key { host_port: self.dst_port, guest_port: self.src_port }
    }
}

/// Names a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) host_port: u32,
    pub(super) guest_port: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_laid_out_as_the_specification_says() {
        let header = Header {
            src_cid: 0x0102_0304_0506_0708,
            dst_cid: 2,
            src_port: 0x1112_1314,
            dst_port: 0x2122_2324,
            len: 0x3132_3334,
            kind: 0x4142,
            op: 0x5152,
            flags: 0x6162_6364,
            buf_alloc: 0x7172_7374,
            fwd_cnt: 0x8182_8384,
        };
        let bytes = header.to_bytes();
        let expected = b"\x08\x07\x06\x05\x04\x03\x02\x01\x02\0\0\0\0\0\0\0\
            \x14\x13\x12\x11\x24\x23\x22\x21\x34\x33\x32\x31\x42\x41\x52\x51\
            \x64\x63\x62\x61\x74\x73\x72\x71\x84\x83\x82\x81";
        assert_eq!(&bytes, expected);
        assert_eq!(Header::parse(&bytes), header);
    }

    #[test]
    fn operations_have_their_numbers() {
        for raw in 0..100 {
            assert!(Op::from_raw(raw).is_none_or(|op| op as u16 == raw));
        }
        assert_eq!(Op::from_raw(0), None);
        assert_eq!(Op::from_raw(7), Some(Op::CreditRequest));
        assert_eq!(Op::from_raw(8), None);
    }
}

//! Ethernet frames with IPv4, UDP and TCP, made by hand.

use devices::virtio::net::MacAddress;

pub const GUEST: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
pub const HOST: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
pub const GUEST_IP: [u8; 4] = [10, 0, 0, 2];
pub const HOST_IP: [u8; 4] = [10, 0, 0, 1];

/// Bytes before an IPv4 header: those of the virtio header and of Ethernet's.
pub const IP: usize = 12 + 14;
/// Bytes before the header of UDP or TCP.
pub const TRANSPORT: usize = IP + 20;

const UDP: u8 = 17;
const TCP: u8 = 6;

/// `struct virtio_net_hdr_v1` (virtio 1.2, 5.1.6).
#[derive(Clone, Copy, Default)]
pub struct Header {
    pub flags: u8,
    pub gso_type: u8,
    pub hdr_len: u16,
    pub gso_size: u16,
    pub csum_start: u16,
    pub csum_offset: u16,
}

impl Header {
    pub fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[0] = self.flags;
        bytes[1] = self.gso_type;
        let fields = [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset];
        for (place, field) in fields.into_iter().enumerate() {
            bytes[2 + 2 * place..][..2].copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    pub fn of(packet: &[u8]) -> Self {
        let field = |at: usize| u16::from_le_bytes([packet[at], packet[at + 1]]);
        Self {
            flags: packet[0],
            gso_type: packet[1],
            hdr_len: field(2),
            gso_size: field(4),
            csum_start: field(6),
            csum_offset: field(8),
        }
    }
}

/// Whether the checksum is left to the receiver.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    Complete,
    Left,
}

/// The sum of 16-bit words in one's complement (RFC 1071).
pub fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// A packet of UDP from the guest to the host's address.
pub fn udp(ports: [u16; 2], data: &[u8], checksum: Checksum) -> Vec<u8> {
    let len = u16::try_from(8 + data.len()).unwrap();
    let mut segment = Vec::new();
    for field in [ports[0], ports[1], len, 0] {
        segment.extend(field.to_be_bytes());
    }
    segment.extend(data);
    packet(UDP, segment, 6, checksum, Header::default())
}

/// What a packet of TCP says.
#[derive(Clone, Copy)]
pub struct Tcp {
    pub ports: [u16; 2],
    pub sequence: u32,
    pub acknowledged: u32,
    pub flags: u8,
}

/// A packet of TCP from the guest to the host's address, with these options and without data.
pub fn tcp(tcp: Tcp, options: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(tcp.ports[0].to_be_bytes());
    segment.extend(tcp.ports[1].to_be_bytes());
    segment.extend(tcp.sequence.to_be_bytes());
    segment.extend(tcp.acknowledged.to_be_bytes());
    let words = u8::try_from((20 + options.len()) / 4).unwrap();
    segment.extend([words << 4, tcp.flags, 0xFF, 0xFF, 0, 0, 0, 0]);
    segment.extend(options);
    packet(TCP, segment, 16, Checksum::Complete, Header::default())
}

/// An answer to a request for the guest's Ethernet address, if it is one.
pub fn arp_answer(packet: &[u8]) -> Option<Vec<u8>> {
    let arp = packet.get(IP..IP + 28)?;
    let asks = packet[24..26] == [8, 6] && arp[6..8] == [0, 1] && arp[24..] == GUEST_IP;
    asks.then(|| {
        let mut answer = Header::default().bytes().to_vec();
        answer.extend(ethernet([8, 6]));
        answer.extend([0, 1, 8, 0, 6, 4, 0, 2]);
        answer.extend(GUEST.0);
        answer.extend(GUEST_IP);
        answer.extend(HOST.0);
        answer.extend(HOST_IP);
        answer
    })
}

/// The data of a packet of UDP to this port.
pub fn udp_data(packet: &[u8], port: u16) -> Option<&[u8]> {
    let ip = packet.get(IP..)?;
    let is_udp = packet[24..26] == [8, 0] && ip.get(9) == Some(&UDP);
    let to = packet.get(TRANSPORT + 2..TRANSPORT + 4)?;
    (is_udp && to == port.to_be_bytes()).then(|| &packet[TRANSPORT + 8..])
}

/// Sequence number, flags and data of a packet of TCP to this port.
pub fn tcp_data(packet: &[u8], port: u16) -> Option<(u32, u8, &[u8])> {
    let is_tcp = packet.get(24..26)? == [8, 0] && packet.get(IP + 9) == Some(&TCP);
    let segment = packet.get(TRANSPORT..)?;
    if !is_tcp || segment[2..4] != port.to_be_bytes() {
        return None;
    }
    let sequence = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
    let len = usize::from(u16::from_be_bytes([packet[IP + 2], packet[IP + 3]])) - 20;
    let header = usize::from(segment[12] >> 4) * 4;
    Some((sequence, segment[13], &segment[header..len]))
}

/// Whether the checksum of a packet's UDP or TCP is right.
pub fn checksum_is_right(packet: &[u8]) -> bool {
    let len = usize::from(u16::from_be_bytes([packet[IP + 2], packet[IP + 3]])) - 20;
    let segment = &packet[TRANSPORT..TRANSPORT + len];
    let pseudo = pseudo(packet[IP + 9], len, &packet[IP + 12..IP + 20]);
    sum(&[&pseudo, segment]) == 0xFFFF
}

fn ethernet(kind: [u8; 2]) -> Vec<u8> {
    [&HOST.0[..], &GUEST.0, &kind].concat()
}

fn pseudo(protocol: u8, len: usize, addresses: &[u8]) -> Vec<u8> {
    let len = u16::try_from(len).unwrap().to_be_bytes();
    [addresses, &[0, protocol, len[0], len[1]]].concat()
}

/// A packet from the guest; `checksum_at` is where in the segment its checksum is.
fn packet(
    protocol: u8,
    mut segment: Vec<u8>,
    checksum_at: usize,
    checksum: Checksum,
    mut header: Header,
) -> Vec<u8> {
    let addresses = [GUEST_IP, HOST_IP].concat();
    let pseudo = pseudo(protocol, segment.len(), &addresses);
    let field = match checksum {
        Checksum::Complete => !sum(&[&pseudo, &segment]),
        Checksum::Left => {
            header.flags = 1; // VIRTIO_NET_HDR_F_NEEDS_CSUM
            header.csum_start = 34;
            header.csum_offset = u16::try_from(checksum_at).unwrap();
            sum(&[&pseudo])
        }
    };
    segment[checksum_at..checksum_at + 2].copy_from_slice(&field.to_be_bytes());
    let len = u16::try_from(20 + segment.len()).unwrap().to_be_bytes();
    let mut ip = vec![0x45, 0, len[0], len[1], 0, 1, 0, 0, 64, protocol, 0, 0];
    ip.extend(addresses);
    let check = (!sum(&[&ip])).to_be_bytes();
    ip[10..12].copy_from_slice(&check);
    [&header.bytes()[..], &ethernet([8, 0]), &ip, &segment].concat()
}

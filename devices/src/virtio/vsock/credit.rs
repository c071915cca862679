//! What the guest has granted (virtio 1.2, 5.10.6.3).

use super::packet::Header;

/// The guest's room for one connection.
#[derive(Default)]
pub(super) struct Credit {
    /// Its whole room, and how many bytes it says that it has got rid of.
    alloc: u32,
    forwarded: u32,
    /// Bytes sent to it, modulo 2³².
    sent: u32,
    /// It is to be asked for more.
    asks: bool,
}

impl Credit {
    /// Bytes that it has room for. Numbers that cannot be make none.
    pub(super) fn left(&self) -> u32 {
        self.alloc.saturating_sub(self.sent.wrapping_sub(self.forwarded))
    }

    /// Every packet of the guest says what it has.
    pub(super) fn update(&mut self, header: &Header) {
        self.alloc = header.buf_alloc;
        self.forwarded = header.fwd_cnt;
        self.asks &= self.left() == 0;
    }

    /// So many bytes, at most as many as are left, have been sent. When none is left, the guest is asked, once.
    pub(super) fn spend(&mut self, len: u32) {
        self.sent = self.sent.wrapping_add(len);
        self.asks = self.left() == 0;
    }

    /// Whether the guest is to be asked.
    pub(super) fn asks(&self) -> bool {
        self.asks
    }

    /// The guest is asked.
    pub(super) fn ask(&mut self) -> bool {
        std::mem::take(&mut self.asks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(buf_alloc: u32, fwd_cnt: u32) -> Header {
        Header { buf_alloc, fwd_cnt, ..Header::default() }
    }

    #[test]
    fn counts_go_round_and_absurd_ones_grant_nothing() {
        let mut credit = Credit { sent: u32::MAX - 1, ..Credit::default() };
        credit.update(&says(10, u32::MAX - 1));
        assert_eq!(credit.left(), 10);
        credit.spend(4);
        assert_eq!((credit.left(), credit.asks()), (6, false));
        credit.update(&says(10, 1));
        assert_eq!(credit.left(), 9);
        credit.update(&says(u32::MAX, 3));
        assert_eq!(credit.left(), 0, "more was got rid of than was sent");
        credit.update(&says(1, 1));
        assert_eq!(credit.left(), 0, "the room has shrunk");
    }

    #[test]
    fn the_guest_is_asked_once_and_not_if_it_has_said_so_itself() {
        let mut credit = Credit::default();
        credit.update(&says(5, 0));
        credit.spend(5);
        assert!(credit.asks() && credit.ask() && !credit.asks() && !credit.ask());
        credit.update(&says(5, 5));
        credit.spend(5);
        credit.update(&says(5, 6));
        assert!(!credit.asks());
    }
}

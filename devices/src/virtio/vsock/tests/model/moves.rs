//! What guest and host do, each step as the model understands it.

use super::*;

impl World {
    pub(super) fn hear(&mut self, (header, payload): Heard) {
        let who = self.by_key[&header.key_of_host()];
        let end = &mut self.ends[who];
        assert!(!end.over, "nothing comes after a reset");
        end.peer_alloc = header.buf_alloc;
        end.peer_forwarded = header.fwd_cnt;
        assert!(end.sent.wrapping_sub(end.peer_forwarded) <= end.peer_alloc);
        match Op::from_raw(header.op).unwrap() {
            Op::Response => assert!(!std::mem::replace(&mut end.agreed, true)),
            Op::Data => {
                assert!(end.agreed && end.host_done & done::SEND == 0);
                assert!(!payload.is_empty());
                assert!(payload == pattern(end.received as usize, payload.len()));
                end.received += header.len;
                assert!(end.received - end.told <= end.alloc, "more than was granted");
                assert!(end.received as usize <= end.host_sent);
            }
            Op::Shutdown => {
                end.host_done |= header.flags;
                if end.host_done & done::SEND != 0 {
                    assert!(end.host_shut || end.host_closed);
                    assert!(
                        end.received as usize == end.host_sent,
                        "the end is behind the last byte"
                    );
                }
                assert!(end.host_done & done::RECEIVE == 0 || end.host_closed);
            }
            Op::Reset => {
                end.over = true;
                assert!(
                    end.guest_done == done::BOTH || end.host_lost,
                    "the guest has kept the rules"
                );
            }
            // A request is answered when the guest reads.
            Op::CreditRequest | Op::CreditUpdate => {}
            Op::Request => panic!("nobody has asked"),
        }
    }

    pub(super) fn guest_sends(&mut self, who: usize, len: usize) {
        self.listen();
        let end = &mut self.ends[who];
        if end.over || !end.agreed || end.guest_done & done::SEND != 0 {
            return;
        }
        let len = len.min(end.credit());
        if len > 0 {
            let payload = pattern(end.sent as usize, len);
            end.sent += u32::try_from(len).unwrap();
            self.say(who, Op::Data, 0, &payload);
        }
    }

    pub(super) fn guest_reads(&mut self, who: usize, tells: bool) {
        self.listen();
        let end = &mut self.ends[who];
        end.read = end.received;
        if tells && !end.over && end.agreed {
            self.say(who, Op::CreditUpdate, 0, &[]);
        }
    }

    pub(super) fn guest_shuts(&mut self, who: usize, flags: u32) {
        self.listen();
        let end = &mut self.ends[who];
        if !end.over && end.agreed {
            end.guest_done |= flags;
            self.say(who, Op::Shutdown, flags, &[]);
        }
    }

    pub(super) fn host_sends(&mut self, who: usize, len: usize) {
        let end = &mut self.ends[who];
        if let Some(host) = &mut end.host
            && !end.host_shut
        {
            match host.write(&pattern(end.host_sent, len)) {
                Ok(len) => end.host_sent += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => assert!(end.guest_done & done::RECEIVE != 0 || end.over),
            }
        }
        self.bed.guest.step();
    }

    /// How much the host reads.
    pub(super) fn host_reads(&mut self, who: usize, most: usize) -> usize {
        let end = &mut self.ends[who];
        let Some(host) = &mut end.host else { return 0 };
        let mut data = vec![0; most];
        let len = match host.read(&mut data) {
            Ok(0) => {
                let all = end.guest_done & done::SEND != 0 && end.host_read == end.sent as usize;
                assert!(all || end.over, "an end that nobody has made");
                0
            }
            Ok(len) => {
                assert!(data[..len] == pattern(end.host_read, len));
                len
            }
            // The guest has ended it, and what the host sent last was for nobody.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                assert!(end.guest_done == done::BOTH && end.host_read == end.sent as usize);
                assert!((end.received as usize) < end.host_sent);
                0
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                0
            }
        };
        end.host_read += len;
        self.bed.guest.step();
        len
    }

    pub(super) fn host_closes(&mut self, who: usize) {
        let end = &mut self.ends[who];
        if end.host.take().is_some() {
            end.host_closed = true;
            // Bytes that it has not read make the socket end by an error, which is a reset.
            end.host_lost = end.host_read < end.sent as usize;
        }
        self.bed.guest.step();
    }

    pub(super) fn take(&mut self, step: &Step) {
        let exists = |who: usize| who < self.ends.len();
        match *step {
            Step::Open { by_guest } => self.open(by_guest),
            Step::GuestSends { who, len } if exists(who) => self.guest_sends(who, len),
            Step::GuestReads { who, tells } if exists(who) => self.guest_reads(who, tells),
            Step::GuestShuts { who, flags } if exists(who) => self.guest_shuts(who, flags),
            Step::HostSends { who, len } if exists(who) => self.host_sends(who, len),
            Step::HostReads { who, most } if exists(who) => {
                self.host_reads(who, most);
            }
            Step::HostShuts { who } if exists(who) => {
                let end = &mut self.ends[who];
                if let Some(host) = &end.host {
                    end.host_shut = true;
                    let _ = host.shutdown(Shutdown::Write);
                }
                self.bed.guest.step();
            }
            Step::HostCloses { who } if exists(who) => self.host_closes(who),
            Step::Post { count, payload } => self.post(count, payload),
            Step::Pause => {
                self.bed.guest.runner.drain().unwrap();
                self.bed.guest.receive.doorbell.notify();
                self.bed.guest.transmit.doorbell.notify();
                self.bed.guest.step();
            }
            _ => {}
        }
        self.listen();
    }
}

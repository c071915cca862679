//! Guest-visible devices of which no register takes a lock.

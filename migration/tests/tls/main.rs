//! TLS between two ends: when they understand each other, and what each says when they do not.
#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod directories;
mod files;
mod handshake;
mod strangers;
mod stream;

//! Reads one JSON command per line from stdin, and writes one JSON reply per line to stdout.

use std::io::{BufRead, Write, stdin, stdout};

use rust_peer::Peer;

fn main() -> std::io::Result<()> {
    // If the crate panics, the reply says so. Don't print a message as well.
    std::panic::set_hook(Box::new(|_| {}));
    let mut peer = Peer::default();
    let mut replies = stdout().lock();
    for line in stdin().lock().lines() {
        writeln!(replies, "{}", peer.answer(&line?))?;
        replies.flush()?;
    }
    Ok(())
}

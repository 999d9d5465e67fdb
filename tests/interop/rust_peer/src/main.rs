//! One JSON command a line on stdin, one JSON reply a line on stdout.

use std::io::{BufRead, Write, stdin, stdout};

use rust_peer::Peer;

fn main() -> std::io::Result<()> {
    // A panic of the crate is a reply, not a message for people.
    std::panic::set_hook(Box::new(|_| {}));
    let mut peer = Peer::default();
    let mut replies = stdout().lock();
    for line in stdin().lock().lines() {
        writeln!(replies, "{}", peer.answer(&line?))?;
        replies.flush()?;
    }
    Ok(())
}

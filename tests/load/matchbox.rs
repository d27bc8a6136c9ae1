//! `matchbox_server` as one more relay: its rooms and its messages. Rooms of two, so that nobody hears of the others.

use anyhow::Context as _;

use crate::client::{Wire, text_frame};
use crate::fleet::Server;
use crate::workloads::sdp;

pub const MATCHBOX: &str = "matchbox_server";
/// How a relayed message begins.
pub const SIGNAL: &str = "{\"Signal\"";

/// A message of 1 KiB to this peer, as a frame.
pub fn signal(to: &str) -> Vec<u8> {
    let data = sdp();
    text_frame(&format!("{{\"Signal\":{{\"receiver\":\"{to}\",\"data\":\"{data}\"}}}}"))
}

/// Connects so many peers, and returns the names that the server gave them.
pub async fn peers(server: &Server, count: usize) -> anyhow::Result<(Vec<String>, Vec<Wire>)> {
    let (mut names, mut wires) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for number in 0..count {
        let mut wire = Wire::upgrade(server.port, &format!("/load-{}", number / 2), "none").await?;
        let first = std::str::from_utf8(wire.frame().await?)?;
        let name = first
            .strip_prefix("{\"IdAssigned\":\"")
            .and_then(|rest| rest.strip_suffix("\"}"))
            .with_context(|| format!("the first message is {first}"))?;
        names.push(name.to_owned());
        wires.push(wire);
    }
    Ok((names, wires))
}

//! Black-box tests: everything a client, an operator or a policy author can see, over the real process.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test that asked for it"
)]

mod webrtc;

//! Black-box tests over the real process.

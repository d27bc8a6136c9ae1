//! The contract of live state, on memory.

use crate::ports::contract::live_contract;
use crate::ports::live::Live;

async fn empty() -> (Live, ()) {
    (super::open(), ())
}

live_contract!(super::empty);

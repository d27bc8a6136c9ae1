//! Frames as they are sent: a server's frames are not masked, so a message goes out as it is, after a short head.

use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::queue::Worth;

/// A whole text message; the opcode of a final frame.
const TEXT: u8 = 0x81;

/// What is to be sent.
pub(super) enum Frame {
    /// A text message.
    Text(Utf8Bytes),
    /// A frame that the protocol itself sends, with its head.
    Raw(Vec<u8>),
}

/// A frame that waits.
pub(super) struct Entry {
    pub(super) frame: Frame,
    pub(super) worth: Worth,
}

impl Frame {
    /// Bytes of the payload.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Raw(bytes) => bytes.len(),
        }
    }

    /// Appends the frame as it is sent.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Raw(raw) => bytes.extend_from_slice(raw),
            Self::Text(text) => {
                bytes.reserve(text.len() + 10);
                bytes.push(TEXT);
                match (u8::try_from(text.len()), u16::try_from(text.len())) {
                    (Ok(short @ ..=125), _) => bytes.push(short),
                    (_, Ok(length)) => {
                        bytes.push(126);
                        bytes.extend_from_slice(&length.to_be_bytes());
                    }
                    _ => {
                        bytes.push(127);
                        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
                    }
                }
                bytes.extend_from_slice(text.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_tells_the_length() {
        for (length, head) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (255, &[0x81, 126, 0, 255]),
            (65_535, &[0x81, 126, 255, 255]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut bytes = Vec::new();
            Frame::Text("x".repeat(length).into()).write(&mut bytes);
            assert_eq!(bytes.len(), head.len() + length);
            assert!(bytes.starts_with(head), "{length}");
        }
    }
}

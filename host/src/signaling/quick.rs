//! Reads the messages that nearly all are: one flat object of strings. Takes several bytes of a string at a time, which a general
//! reader does not. What it does not know it leaves to that one, so it decides nothing: `wire` is what a message is.

use std::borrow::Cow;

use super::wire::{Incoming, Text};

/// The message, or none when it is of another form or no message at all.
pub(super) fn read(text: &str) -> Option<Incoming<'_>> {
    let mut reader = Reader { text, at: 0 };
    let mut kind = None;
    let mut message = Incoming::default();
    reader.expect(b'{')?;
    loop {
        let name = reader.string()?;
        reader.expect(b':')?;
        let value = reader.string()?;
        match name.plain()? {
            "type" => once(&mut kind, value.text()?)?,
            "to" => once(&mut message.to, value.text()?)?,
            "session_id" => once(&mut message.session_id, value.text()?)?,
            "peer_id" => once(&mut message.peer_id, value.text()?)?,
            "id" => once(&mut message.id, value.json)?,
            "sdp" => once(&mut message.sdp, value.json)?,
            "candidate" => once(&mut message.candidate, value.json)?,
            _ => return None,
        }
        match reader.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    reader.blank();
    message.kind = kind?;
    (reader.at == text.len()).then_some(message)
}

fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// A string as it stands in the message.
struct Quoted<'a> {
    /// With its quotes.
    json: &'a str,
    escaped: bool,
}

impl<'a> Quoted<'a> {
    /// Without its quotes, if nothing in it is escaped.
    fn plain(&self) -> Option<&'a str> {
        if self.escaped {
            return None;
        }
        self.json.get(1..self.json.len() - 1)
    }

    fn text(&self) -> Option<Text<'a>> {
        self.plain().map(|text| Text(Cow::Borrowed(text)))
    }
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn blank(&mut self) {
        let blanks = self.rest().iter().take_while(|byte| b" \n\r\t".contains(byte));
        self.at += blanks.count();
    }

    /// The next byte that is not blank.
    fn next(&mut self) -> Option<u8> {
        self.blank();
        let byte = *self.rest().first()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn string(&mut self) -> Option<Quoted<'a>> {
        self.expect(b'"')?;
        let (start, mut escaped) = (self.at - 1, false);
        loop {
            self.at += unremarkable(self.rest());
            match self.rest() {
                [b'"', ..] => break,
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
                // A character by its number, a bare control character, or the end.
                _ => return None,
            }
            escaped = true;
        }
        self.at += 1;
        Some(Quoted {
            json: self.text.get(start..self.at)?,
            escaped,
        })
    }
}

/// How many bytes follow that mean themselves in a string.
fn unremarkable(bytes: &[u8]) -> usize {
    /// Bytes that are looked at together. Compilers make a few instructions of them.
    const STEP: usize = 32;
    let stops = |byte: u8| (byte == b'"') | (byte == b'\\') | (byte < 0x20);
    let mut length = 0;
    let (steps, rest) = bytes.as_chunks::<STEP>();
    for step in steps {
        if step.iter().fold(false, |stop, byte| stop | stops(*byte)) {
            return length + step.iter().take_while(|byte| !stops(**byte)).count();
        }
        length += STEP;
    }
    length + rest.iter().take_while(|byte| !stops(**byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: [&str; 12] = [
        r#"{"type":"offer","to":"bob","sdp":"v=0\r\no=- 46 117 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0"}"#,
        r#" { "type" : "answer" , "id" : "7" , "to" : "b\u00fcrger" , "sdp" : "a / \/ \\ \" \b\f\n\r\t" } "#,
        r#"{"type":"ice-candidate","to":"x","candidate":"candidate:1 1 udp 2122 192.0.2.1 5000 typ host"}"#,
        r#"{"type":"join","session_id":"s-1","peer_id":"p"}"#,
        r#"{"type":"offer","to":"bob","sdp":{"type":"offer","sdp":"v=0"}}"#,
        r#"{"type":"ice-candidate","to":"x","candidate":null}"#,
        r#"{"type":"create_session","zone":"z","token":"t"}"#,
        r#"{"type":"offer","type":"answer"}"#,
        r#"{"\u0074ype":"offer","to":"a\nb"}"#,
        r#"{"type":"offer","id":12,"unknown":"x","to":"é"}"#,
        r#"{"type":"offer","sdp":"\ud800 \uzzzz"}"#,
        r#"{"to":"nobody"}"#,
    ];

    /// Whether both readers agree, as far as this one reads.
    fn agreed(text: &str) -> bool {
        let Some(quick) = read(text) else { return false };
        let whole = Incoming::read_whole(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(format!("{quick:?}"), format!("{whole:?}"), "{text:?}");
        true
    }

    #[test]
    fn it_reads_what_is_common_as_the_whole_reader_does() {
        let read: Vec<bool> = MESSAGES.iter().map(|text| agreed(text)).collect();
        assert_eq!(read[..4], [true, false, true, true]);
        assert_eq!(read[4..], [false; 8]);
        assert!(agreed(&MESSAGES[1].replace(r"\u00fc", "ü")));
        for length in 0..200 {
            let sdp = "x".repeat(length);
            assert!(
                agreed(&format!(r#"{{"type":"offer","to":"b","sdp":"{sdp}"}}"#)),
                "{length}"
            );
            assert!(
                agreed(&format!(r#"{{"type":"offer","to":"b","sdp":"{sdp}\n{sdp}é{sdp}"}}"#)),
                "{length}"
            );
            assert!(
                !agreed(&format!("{{\"type\":\"offer\",\"to\":\"b\",\"sdp\":\"{sdp}\n\"}}")),
                "{length}"
            );
        }
    }

    #[test]
    fn it_reads_nothing_that_the_whole_reader_refuses() {
        // Every message with every byte left out, doubled, or put in another's place.
        let others = b"\"\\{}[]:, \n\x00\x1f\x7fnu0a/";
        let mut tried = 0;
        for message in MESSAGES {
            for at in 0..message.len() {
                let (before, after) = message.as_bytes().split_at(at);
                let variants = others
                    .iter()
                    .flat_map(|other| {
                        [
                            [before, &[*other], after].concat(),
                            [before, &[*other], &after[1..]].concat(),
                        ]
                    })
                    .chain([[before, &after[1..]].concat(), before.to_vec(), after.to_vec()]);
                for variant in variants {
                    if let Ok(text) = std::str::from_utf8(&variant) {
                        agreed(text);
                        tried += 1;
                    }
                }
            }
        }
        assert!(tried > 20_000, "{tried}");
    }
}

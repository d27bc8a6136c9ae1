//! Reads a JSON list of names without a JSON library, which would make the component several times larger. The text
//! comes from the coordinator and is valid JSON; anything else gives fewer names, never a failure.

use std::str::Chars;

/// The texts that stand in the list itself. What is no list has none; other values in the list are passed over.
#[must_use]
pub fn parse_names(json: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut text = json.trim_start().chars();
    if text.next() != Some('[') {
        return names;
    }
    let mut depth = 1u32;
    while let Some(next) = text.next() {
        match next {
            '"' => match string(&mut text) {
                Some(name) if depth == 1 => names.push(name),
                Some(_) => {}
                None => break,
            },
            '[' | '{' => depth += 1,
            ']' | '}' if depth == 1 => break,
            ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

/// The rest of a string whose opening quote is read; none when it does not end.
fn string(text: &mut Chars<'_>) -> Option<String> {
    let mut value = String::new();
    loop {
        match text.next()? {
            '"' => return Some(value),
            '\\' => value.push(match text.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => character(text)?,
                other => other,
            }),
            plain => value.push(plain),
        }
    }
}

/// A `\u` escape whose `\u` is read, with its second half when it is one of a pair.
fn character(text: &mut Chars<'_>) -> Option<char> {
    let first = unit(text)?;
    if !(0xD800..0xDC00).contains(&first) {
        return Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    let mut ahead = text.clone();
    if ahead.next() == Some('\\') && ahead.next() == Some('u') {
        let second = unit(&mut ahead)?;
        if (0xDC00..0xE000).contains(&second) {
            *text = ahead;
            return char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00));
        }
    }
    Some(char::REPLACEMENT_CHARACTER)
}

fn unit(text: &mut Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |unit, _| Some(unit << 4 | text.next()?.to_digit(16)?))
}

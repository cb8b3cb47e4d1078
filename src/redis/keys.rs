//! Names to keys.
//!
//! `<prefix>:<kind>:{name}`, or with a group `<prefix>:<kind>:{group}:name`. The braces are the hash
//! tag: all keys of one name, and all names of one group, lie in one cluster slot. Names may be
//! any text, so what has a meaning in a key is escaped in them, and different names never share a
//! key.

use super::error::RedisError;

/// The keys of one lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Keys {
    /// The lock itself.
    pub(crate) lock: String,
    /// Its queue, there only while somebody waits.
    pub(crate) queue: String,
    /// What is known about the waiters in the queue.
    pub(crate) waiters: String,
}

impl Keys {
    /// The keys of `name`. Refuses what could not be told apart from other names.
    pub(crate) fn new(prefix: &str, group: Option<&str>, name: &str) -> Result<Self, RedisError> {
        if name.is_empty() {
            return Err(RedisError::EmptyName);
        }
        if group == Some("") {
            return Err(RedisError::option("group", "it must not be empty; leave it out instead"));
        }
        if prefix.contains(['{', '}']) {
            return Err(RedisError::option(
                "prefix",
                "it must not hold braces, which mark the hash tag of a key",
            ));
        }
        let name = escape(name);
        let tail = match group {
            None => format!("{{{name}}}"),
            Some(group) => format!("{{{}}}:{name}", escape(group)),
        };
        Ok(Self::with_tail(prefix, &tail))
    }

    fn with_tail(prefix: &str, tail: &str) -> Self {
        let key = |kind: char| format!("{prefix}:{kind}:{tail}");
        Self { lock: key('l'), queue: key('q'), waiters: key('w') }
    }

    /// The keys that belong to a lock or a queue which was found by [`pattern`].
    pub(crate) fn of(prefix: &str, found: &str) -> Option<Self> {
        let tail = found.strip_prefix(prefix)?.strip_prefix(":l:");
        let tail = tail.or_else(|| found.strip_prefix(prefix)?.strip_prefix(":q:"))?;
        Some(Self::with_tail(prefix, tail))
    }
}

/// What the locks and queues of a group, or all those without a group, look like to SCAN. A key
/// with a group never ends in a brace.
pub(crate) fn pattern(prefix: &str, group: Option<&str>) -> String {
    let prefix = literal(prefix);
    match group {
        None => format!("{prefix}:[lq]:{{*}}"),
        Some(group) => format!("{prefix}:[lq]:{{{}}}:*", literal(&escape(group))),
    }
}

/// Text as a pattern that only it matches.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The slot of a cluster that a key lies in.
pub(crate) fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let hashed = match tag {
        Some((tag, _)) if !tag.is_empty() => tag,
        _ => key,
    };
    crc16(hashed.as_bytes()) % 16_384
}

/// The checksum that a cluster's slots go by: CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

/// Writes `%`, `:`, `{` and `}` as `%25` and so on.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' => out.push_str("%25"),
            ':' => out.push_str("%3A"),
            '{' => out.push_str("%7B"),
            '}' => out.push_str("%7D"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// All words of one to three letters, of those that have a meaning in a key and one that is a
    /// kind.
    fn words() -> Vec<String> {
        let alphabet = ["a", "l", ":", "%", "{", "}"];
        let mut words: Vec<String> = Vec::new();
        let mut last = vec![String::new()];
        for _ in 0..3 {
            last = last
                .iter()
                .flat_map(|word| alphabet.iter().map(move |c| format!("{word}{c}")))
                .collect();
            words.extend(last.iter().cloned());
        }
        words
    }

    #[test]
    fn different_names_never_share_a_key() {
        let words = words();
        let mut seen = HashMap::new();
        let mut note = |prefix: &str, group: Option<&str>, name: &str| {
            let keys = Keys::new(prefix, group, name).unwrap();
            let tag = &keys.lock[keys.lock.find('{').unwrap() + 1..keys.lock.find('}').unwrap()];
            assert_eq!(tag, escape(group.unwrap_or(name)), "the hash tag is the group or the name");
            for key in [keys.lock, keys.queue, keys.waiters] {
                let whose = (prefix.to_owned(), group.map(str::to_owned), name.to_owned());
                if let Some(other) = seen.insert(key.clone(), whose.clone()) {
                    assert_eq!(other, whose, "both have the key {key}");
                }
            }
        };
        for prefix in ["", "a", "a:l", "l", ":", "a:"] {
            for name in &words {
                note(prefix, None, name);
            }
            for group in &words[..42] {
                for name in &words[..42] {
                    note(prefix, Some(group), name);
                }
            }
        }
    }

    /// The values are what CLUSTER KEYSLOT answers.
    #[test]
    fn slots_are_those_of_the_server() {
        let slots = [("foo", 12_182), ("bar", 5_061), ("a{foo}b", 12_182), ("{}foo", 9_500)];
        for (key, expected) in slots {
            assert_eq!(slot(key), expected, "{key}");
        }
    }

    #[test]
    fn what_cannot_be_a_key_is_refused() {
        assert!(matches!(Keys::new("w", None, ""), Err(RedisError::EmptyName)));
        assert!(matches!(Keys::new("w{", None, "a"), Err(RedisError::Option { .. })));
        assert!(matches!(Keys::new("w", Some(""), "a"), Err(RedisError::Option { .. })));
    }
}

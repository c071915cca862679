//! The values of option strings: sizes, toggles, integers, lists, quoted text.

const SUFFIXES: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];

/// Bytes, from `4096`, `512M`, `2G`; the suffixes K, M, G and T are powers of 1024.
pub fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = SUFFIXES
        .iter()
        .find_map(|(suffix, shift)| Some((text.strip_suffix(*suffix)?, *shift)))
        .unwrap_or((text, 0));
    parse_integer::<u64>(digits)?.checked_mul(1 << shift)
}

/// A size as [`parse_size`] reads it, with the largest suffix that leaves no rest.
pub fn print_size(bytes: u64) -> String {
    SUFFIXES
        .iter()
        .rev()
        .find(|(_, shift)| bytes != 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(|| bytes.to_string(), |(suffix, shift)| format!("{}{suffix}", bytes >> shift))
}

/// Decimal digits only: no sign, no blanks.
pub(super) fn parse_integer<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// `on` or `true`, `off` or `false`.
pub(super) fn parse_toggle(text: &str) -> Option<bool> {
    match text {
        "on" | "true" => Some(true),
        "off" | "false" => Some(false),
        _ => None,
    }
}

/// `on` or `off`.
pub(super) fn print_toggle(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// What keeps text from being split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unbalanced {
    /// A bracket has no partner.
    Bracket,
    /// A quote has no partner.
    Quote,
}

/// Splits at commas that stand neither in quotes nor in brackets. Quotes stay in the parts.
pub(super) fn split(text: &str) -> Result<Vec<&str>, Unbalanced> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut depth = 0_usize;
    let mut quoted = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            // Inside quotes a doubled quote stands for one: it ends and begins again, so
            // toggling is right for it too.
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' => depth += 1,
            b']' => depth = depth.checked_sub(1).ok_or(Unbalanced::Bracket)?,
            b',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    if quoted {
        return Err(Unbalanced::Quote);
    }
    if depth != 0 {
        return Err(Unbalanced::Bracket);
    }
    parts.push(&text[start..]);
    Ok(parts)
}

/// The elements of `[a,b,c]`, brackets off, quotes still on; `[]` has none.
pub(super) fn split_list(text: &str) -> Option<Vec<&str>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    if inner.is_empty() { Some(Vec::new()) } else { split(inner).ok() }
}

/// Takes quotes off: `"a,b"` is `a,b`, and a doubled quote inside quotes is one quote.
pub(super) fn unquote(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(next) = chars.next() {
        if next != '"' {
            plain.push(next);
        } else if quoted && chars.peek() == Some(&'"') {
            plain.push('"');
            chars.next();
        } else {
            quoted = !quoted;
        }
    }
    plain
}

/// Puts quotes on where [`split`] would take text apart without them.
pub(super) fn quote(text: &str) -> String {
    if text.contains(['"', ',', '[', ']']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("1K", Some(1024)),
            ("512M", Some(512 << 20)),
            ("2G", Some(2 << 30)),
            ("1T", Some(1 << 40)),
            ("", None),
            ("G", None),
            ("-1G", None),
            ("+1", None),
            ("1.5G", None),
            ("1g", None),
            ("1GB", None),
            (" 1", None),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("18446744073709551615K", None),
            ("16777216T", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn commas_in_quotes_and_brackets_do_not_split() {
        assert_eq!(split("a=1,b=[2,3],c=\"4,]5\""), Ok(vec!["a=1", "b=[2,3]", "c=\"4,]5\""]));
        assert_eq!(split(""), Ok(vec![""]));
        assert_eq!(split("a,,b"), Ok(vec!["a", "", "b"]));
        assert_eq!(split("a]"), Err(Unbalanced::Bracket));
        assert_eq!(split("[[a]"), Err(Unbalanced::Bracket));
        assert_eq!(split("\"a"), Err(Unbalanced::Quote));
    }

    proptest! {
        #[test]
        fn a_size_prints_as_what_parses_back(bytes: u64, shift in 0_u32..64) {
            for bytes in [bytes, bytes << shift] {
                prop_assert_eq!(parse_size(&print_size(bytes)), Some(bytes));
            }
        }

        #[test]
        fn quoted_text_is_one_item_and_comes_back(text in "[\\PC]*") {
            let quoted = quote(&text);
            prop_assert_eq!(split(&quoted), Ok(vec![quoted.as_str()]));
            prop_assert_eq!(unquote(&quoted), text);
        }

        #[test]
        fn nothing_panics(text: String) {
            let _ = (parse_size(&text), split(&text), split_list(&text), unquote(&text));
        }
    }
}

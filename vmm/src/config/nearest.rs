//! Which known word a misspelt one was probably meant to be.

/// The candidate that resembles `word` most, if any does well enough to be worth mentioning: at
/// most a third of its letters (at least one) differ, by Damerau–Levenshtein distance.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // The distance is quadratic; nobody misspells a key by hundreds of letters.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_typos_and_nothing_in_noise() {
        let keys = ["boot", "max", "topology", "affinity"];
        for (word, expected) in [
            ("bot", Some("boot")),
            ("Boot", Some("boot")),
            ("topolgy", Some("topology")),
            ("afinnity", Some("affinity")),
            ("mx", Some("max")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), keys), None);
    }
}

//! "Did you mean": the known word nearest to an unknown one.
//!
//! A wrong key is usually a key with one wrong letter.

/// The word of `known` that `word` was probably meant to be, if any is near enough.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let folded = word.to_lowercase().replace('-', "_");
    let allowed = (folded.chars().count() / 3).clamp(1, MAX_DISTANCE);
    let beginning = |candidate: &&str| {
        folded.len() >= MIN_BEGINNING && candidate.to_lowercase().starts_with(&folded)
    };
    known
        .iter()
        .map(|candidate| (distance(&folded, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
        .or_else(|| known.iter().copied().find(beginning))
}

/// Help that names the nearest known word, or else all of them.
pub(crate) fn help(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal
/// string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if swapped {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

const MAX_DISTANCE: usize = 3;
/// Fewer letters begin too many words.
const MIN_BEGINNING: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("tls", "tsl", 1),
            ("adress", "address", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (edits, edits), "{a} {b}");
        }
    }

    #[test]
    fn only_near_words_are_meant() {
        let known = ["addresses", "name", "kind", "max_connections"];
        assert_eq!(nearest("adresses", &known), Some("addresses"));
        assert_eq!(nearest("Max-Connections", &known), Some("max_connections"));
        assert_eq!(nearest("max_conections_", &known), Some("max_connections"));
        assert_eq!(nearest("max_conn", &known), Some("max_connections"));
        assert_eq!(nearest("ma", &known), None);
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("x", &known), None);
    }
}

//! Which texts are domain names: hosts in replies and headers, domains of an option.
//!
//! Stricter than the DNS: what passes can stand in SMTP, in a header and in a TOML string as it is.

/// Whether `text` is a domain name in ASCII (RFC 5321 4.1.2, and underscores as the DNS has them).
pub(crate) fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_letters_digits_and_hyphens() {
        for text in ["mx.contoso.example", "localhost", "a_b.example", "xn--mnchen-3ya.example"] {
            assert!(is_domain(text), "{text}");
        }
        for text in ["", ".", "a.", ".a", "a..b", "-a", "a-", "a b", "münchen.example", "a\nb"] {
            assert!(!is_domain(text), "{text}");
        }
        assert!(!is_domain(&"a".repeat(64)));
    }
}

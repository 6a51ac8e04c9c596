//! Every rule and action AsyncOS knows, so that a name is supported, not yet supported, or wrong.

use alloc::{string::String, vec::Vec};

/// Conditions that can be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rule {
    True,
    SenderGroup,
    Header,
    Subject,
    MailFrom,
    RcptTo,
    RemoteIp,
    RecvListener,
    BodySize,
    RcptCount,
}

/// Things that can be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    SkipFilters,
    Drop,
    Bounce,
    Reject,
    StripHeader,
    InsertHeader,
    LogEntry,
    NoOp,
}

/// What a name stands for.
pub(super) enum Known<T> {
    Supported(T),
    /// AsyncOS has it, we do not.
    Unsupported,
    Unknown,
}

/// The spelling in which names are compared: case does not count, `-` and `_` are the same.
pub(super) fn normal(name: &str) -> String {
    name.chars().map(|char| if char == '_' { '-' } else { char.to_ascii_lowercase() }).collect()
}

pub(super) fn rule(name: &str) -> Known<Rule> {
    find(name, &RULES, &UNSUPPORTED_RULES)
}

pub(super) fn action(name: &str) -> Known<Action> {
    find(name, &ACTIONS, &UNSUPPORTED_ACTIONS)
}

/// Whether no filter may have this name. What only we know is not reserved: a script written for
/// AsyncOS may use it.
pub(super) fn is_reserved(name: &str) -> bool {
    let name = normal(name);
    let name = name.as_str();
    KEYWORDS.contains(&name)
        || UNSUPPORTED_RULES.contains(&name)
        || UNSUPPORTED_ACTIONS.contains(&name)
        || RULES.iter().any(|&(known, _)| known == name)
        || ACTIONS.iter().any(|&(known, action)| known == name && action != Action::Reject)
}

/// The known condition that looks most like `name`.
pub(super) fn similar_rule(name: &str) -> Option<&'static str> {
    similar(name, RULES.iter().map(|&(known, _)| known).chain(UNSUPPORTED_RULES))
}

/// The known action that looks most like `name`.
pub(super) fn similar_action(name: &str) -> Option<&'static str> {
    similar(name, ACTIONS.iter().map(|&(known, _)| known).chain(UNSUPPORTED_ACTIONS))
}

fn find<T: Copy>(name: &str, supported: &[(&str, T)], unsupported: &[&str]) -> Known<T> {
    let name = normal(name);
    match supported.iter().find(|(known, _)| *known == name) {
        Some(&(_, meaning)) => Known::Supported(meaning),
        None if unsupported.contains(&name.as_str()) => Known::Unsupported,
        None => Known::Unknown,
    }
}

fn similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = normal(name);
    if name.len() > MAX_NAME_COMPARED {
        return None;
    }
    let allowed = (name.len() / 3).max(1);
    known
        .map(|known| (distance(&name, known), known))
        .filter(|&(distance, _)| distance <= allowed)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, known)| known)
}

/// Insertions, deletions and replacements of octets that make one out of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, octet) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, target) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(octet != target);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

const MAX_NAME_COMPARED: usize = 64;

const KEYWORDS: [&str; 5] = ["if", "else", "and", "or", "not"];

const RULES: [(&str, Rule); 10] = [
    ("true", Rule::True),
    ("sendergroup", Rule::SenderGroup),
    ("header", Rule::Header),
    ("subject", Rule::Subject),
    ("mail-from", Rule::MailFrom),
    ("rcpt-to", Rule::RcptTo),
    ("remote-ip", Rule::RemoteIp),
    ("recv-listener", Rule::RecvListener),
    ("body-size", Rule::BodySize),
    ("rcpt-count", Rule::RcptCount),
];

const ACTIONS: [(&str, Action); 9] = [
    ("skip-filters", Action::SkipFilters),
    ("deliver", Action::SkipFilters),
    ("drop", Action::Drop),
    ("bounce", Action::Bounce),
    ("reject", Action::Reject),
    ("strip-header", Action::StripHeader),
    ("insert-header", Action::InsertHeader),
    ("log-entry", Action::LogEntry),
    ("no-op", Action::NoOp),
];

const UNSUPPORTED_RULES: [&str; 57] = [
    "valid",
    "mail-from-group",
    "rcpt-to-group",
    "recv-int",
    "date",
    "random",
    "addr-count",
    "spf-status",
    "spf-passed",
    "smime-gateway",
    "smime-gateway-message",
    "smime-gateway-verified",
    "image-verdict",
    "workqueue-count",
    "body-contains",
    "only-body-contains",
    "encrypted",
    "attachment-filename",
    "attachment-type",
    "attachment-mimetype",
    "attachment-filetype",
    "attachment-protected",
    "attachment-unprotected",
    "attachment-contains",
    "attachment-binary-contains",
    "every-attachment-contains",
    "attachment-size",
    "attachment-corrupt",
    "dnslist",
    "reputation",
    "no-reputation",
    "dictionary-match",
    "attachment-dictionary-match",
    "subject-dictionary-match",
    "header-dictionary-match",
    "body-dictionary-match",
    "rcpt-to-dictionary-match",
    "mail-from-dictionary-match",
    "smtp-auth-id-matches",
    "signed",
    "signed-certificate",
    "header-repeats",
    "url-reputation",
    "url-no-reputation",
    "url-category",
    "message-language",
    "forged-email-detection",
    "duplicate-boundaries",
    "malformed-header",
    "geolocation-rule",
    "macro-detection-rule",
    "sdr-reputation",
    "sdr-age",
    "sdr-unscannable",
    "domain-external-threat-feeds",
    "url-external-threat-feeds",
    "file-hash-external-threat-feeds",
];

const UNSUPPORTED_ACTIONS: [&str; 47] = [
    "encrypt",
    "encrypt-deferred",
    "smime-gateway",
    "smime-gateway-deferred",
    "alt-src-host",
    "alt-rcpt-to",
    "alt-mailhost",
    "notify",
    "notify-copy",
    "bcc",
    "bcc-scan",
    "archive",
    "log",
    "quarantine",
    "duplicate-quarantine",
    "edit-header-text",
    "edit-body-text",
    "html-convert",
    "bounce-profile",
    "skip-spamcheck",
    "skip-viruscheck",
    "skip-vofcheck",
    "skip-ampcheck",
    "skip-marketingcheck",
    "skip-socialcheck",
    "skip-bulkcheck",
    "drop-attachments",
    "drop-attachments-by-name",
    "drop-attachments-by-type",
    "drop-attachments-by-filetype",
    "drop-attachments-by-mimetype",
    "drop-attachments-by-size",
    "drop-attachments-where-contains",
    "drop-attachments-where-dictionary-match",
    "add-footer",
    "add-heading",
    "tag-message",
    "url-category-replace",
    "url-category-defang",
    "url-category-proxy-redirect",
    "url-reputation-replace",
    "url-reputation-defang",
    "url-reputation-proxy-redirect",
    "url-no-reputation-replace",
    "url-no-reputation-defang",
    "url-no-reputation-proxy-redirect",
    "safe-print",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_is_forgiving_and_the_tables_do_not_overlap() {
        assert!(matches!(rule("Mail_From"), Known::Supported(Rule::MailFrom)));
        assert!(matches!(action("SKIP_FILTERS"), Known::Supported(Action::SkipFilters)));
        assert!(matches!(rule("duplicate_boundaries"), Known::Unsupported));
        assert!(matches!(action("discard"), Known::Unknown));
        assert!(RULES.iter().all(|(name, _)| !UNSUPPORTED_RULES.contains(name)));
        assert!(ACTIONS.iter().all(|(name, _)| !UNSUPPORTED_ACTIONS.contains(name)));
        for name in UNSUPPORTED_RULES.iter().chain(&UNSUPPORTED_ACTIONS) {
            assert_eq!(&normal(name), name);
        }
    }

    #[test]
    fn a_slip_of_the_finger_finds_what_was_meant() {
        assert_eq!(similar_rule("sender-group"), Some("sendergroup"));
        assert_eq!(similar_rule("heade"), Some("header"));
        assert_eq!(similar_action("strip_headers"), Some("strip-header"));
        assert_eq!(similar_action("frobnicate"), None);
        assert_eq!(similar_action(&"drop".repeat(100)), None);
    }

    #[test]
    fn what_asyncos_reserves_is_reserved() {
        assert!(is_reserved("Drop") && is_reserved("IF") && is_reserved("body_contains"));
        assert!(!is_reserved("reject") && !is_reserved("drop-spam"));
    }
}

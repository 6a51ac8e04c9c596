//! What EHLO is answered (RFC 5321 4.1.1.1): the extensions that hold in this state, and no other.

use alloc::{format, string::String};

use crate::smtp::{
    reply::Reply,
    server::{Settings, TlsOffer},
};

/// The answer to EHLO. STARTTLS is not offered twice (RFC 3207 4.2).
#[must_use]
pub fn ehlo_reply(settings: &Settings, is_tls_up: bool) -> Reply {
    let mut text = format!(
        "{}\nPIPELINING\nSIZE {}\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\nCHUNKING\nDSN",
        settings.hostname, settings.max_message_size,
    );
    text.push_str(&limits(settings));
    if offers_starttls(settings, is_tls_up) {
        text.push_str("\nSTARTTLS");
    }
    plain_250(text)
}

/// The answer to HELO: our name and nothing else.
#[must_use]
pub fn helo_reply(settings: &Settings) -> Reply {
    plain_250(String::from(&*settings.hostname))
}

/// Whether STARTTLS would be obeyed now.
#[must_use]
pub fn offers_starttls(settings: &Settings, is_tls_up: bool) -> bool {
    settings.tls != TlsOffer::Off && !is_tls_up
}

//= RFC 9422 4: values have at most six digits and are not 0; a larger limit is not stated.
fn limits(settings: &Settings) -> String {
    let stated = [("RCPTMAX", settings.max_recipients), ("MAILMAX", settings.max_messages)]
        .into_iter()
        .filter(|(_, limit)| (1..=MAX_STATED_LIMIT).contains(limit))
        .fold(String::new(), |text, (name, limit)| format!("{text} {name}={limit}"));
    if stated.is_empty() { stated } else { format!("\nLIMITS{stated}") }
}

//= RFC 2034 4: no enhanced status code in the answers to EHLO and HELO.
fn plain_250(text: String) -> Reply {
    Reply { code: 250, status: None, text: text.into() }
}

/// The largest value LIMITS can state.
const MAX_STATED_LIMIT: u32 = 999_999;

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use super::*;
    use crate::smtp::server::{BareLineEndings, Limits};

    #[test]
    fn only_what_can_be_stated_and_obeyed_is_offered() {
        let mut settings = Settings {
            hostname: Arc::from("mx.example"),
            banner: None,
            banner_code: 220,
            max_message_size: 5,
            max_messages: u32::MAX,
            max_recipients: 999_999,
            max_header_size: 10,
            max_hops: 10,
            tls: TlsOffer::Preferred,
            bare: BareLineEndings::Reject,
            relay: false,
            limits: Limits::default(),
            spill_size: 10,
        };
        let reply = ehlo_reply(&settings, false);
        assert!(reply.text.ends_with("\nLIMITS RCPTMAX=999999\nSTARTTLS"), "{reply}");
        settings.max_recipients = 1_000_000;
        assert!(ehlo_reply(&settings, true).text.ends_with("\nDSN"));
        assert_eq!(helo_reply(&settings).text, "mx.example");
    }
}

//! The text of the Microsoft 365 configuration, section by section.
//!
//! Written for an administrator who has never seen the file: each choice says why it was made.

use std::{fmt::Write, net::SocketAddr};

use super::{HostPort, M365, TenantTls, outside::outside};

/// `options` have been checked.
pub(super) fn text(options: &M365) -> String {
    let mut out = machine(options);
    out.push_str(POLICIES);
    out.push_str(&listeners(options));
    out.push_str(&filter(options));
    out.push_str(&routes(options));
    out.push_str(&destinations(options));
    out.push_str(QUEUE);
    out
}

fn machine(options: &M365) -> String {
    let M365 { hostname, data_dir, .. } = options;
    let data_dir = data_dir.trim_end_matches('/');
    let domains = options.domains.join(", ");
    let workers = match options.workers {
        Some(workers) => format!("workers = {workers}"),
        None => "# workers = 2".to_owned(),
    };
    let servers = match options.dns_servers.as_slice() {
        [] => "# servers = [\"192.0.2.53:53\"]".to_owned(),
        servers => format!("servers = {}", list(servers.iter().map(SocketAddr::to_string))),
    };
    let admin = match options.admin {
        Some(admin) => format!("admin = {}", quoted(&admin.to_string())),
        None => "# admin = \"127.0.0.1:8443\"".to_owned(),
    };
    format!(
        r#"# Ringpost in front of Microsoft 365: {domains}
#
#   Internet   --> this gateway --> Microsoft 365     mail for your domains
#   Microsoft 365 --> this gateway --> Internet       mail of your people
#
# This file holds a secret (see "Message filters"): only the daemon should be able to read it.
# After a change: ringpost check --config THIS_FILE. Every key is in docs/CONFIGURATION.md.

# The name of this gateway. Its A record and the PTR record of its address should agree.
hostname = {hostname}

# The spool: accepted mail is on this disk before the sender is told so.
data_dir = {data_dir}

# Shards, one thread each. Left out: one for every core.
{workers}

[control]
# Where `ringpost status` and its like reach the daemon.
socket = {socket}
# Where the web interface will listen.
{admin}

[dns]
# Left out: the servers of /etc/resolv.conf.
{servers}
timeout = "5s"

[logs]
# The history of every connection and message. "stdout" hands it to the journal.
mail_logs = {mail_logs}

# Without [tls] the daemon makes a self-signed certificate. Microsoft 365 accepts one if the
# connector to this gateway says so; with a certificate of a public CA it can verify the name.
# [tls]
# certificate = "/etc/ringpost/certificate.pem"
# private_key = "/etc/ringpost/private_key.pem"

"#,
        hostname = quoted(hostname),
        socket = quoted(&format!("{data_dir}/control.sock")),
        mail_logs = quoted(&format!("{data_dir}/mail_logs")),
        data_dir = quoted(if data_dir.is_empty() { "/" } else { data_dir }),
    )
}

fn listeners(options: &M365) -> String {
    let recipients: String = options.domains.iter().map(|domain| recipient(domain)).collect();
    let recipients = format!("{recipients}{}", recipient("ALL"));
    let relay = relay_group(options);
    let inbound = quoted(&options.inbound.to_string());
    if options.inbound == options.outbound {
        return format!(
            r#"{LISTENERS}
# One listener serves both directions, because Exchange Online delivers to port 25 only. The
# sender group decides: who is in RELAY_O365 may send anywhere, all others to your domains.
[[listener]]
name = "MailFlow"
kind = "public"
addresses = [{inbound}]

{relay}
{BLACKLIST}
{ALL_ACCEPTED}
{RECIPIENTS}
{recipients}"#
        );
    }
    let outbound = quoted(&options.outbound.to_string());
    format!(
        r#"{LISTENERS}
# From the Internet. The MX record of your domains leads here.
[[listener]]
name = "Inbound"
kind = "public"
addresses = [{inbound}]

{BLACKLIST}
{ALL_ACCEPTED}
{RECIPIENTS}
{recipients}
# From Microsoft 365. Exchange Online delivers to port 25 only: if this is another port, something
# between has to translate it.
[[listener]]
name = "Outbound"
kind = "private"
addresses = [{outbound}]

{relay}
# Everybody else is greeted with a refusal.
[[listener.sender_group]]
name = "ALL"
policy = "BLOCKED"

"#
    )
}

fn relay_group(options: &M365) -> String {
    let senders = list(options.relay_senders.iter().cloned());
    format!(
        r#"# The mail servers of Microsoft 365, by their verified names in the DNS. Every tenant
# uses the same ones: the message filter below asks for the proof that mail is yours.
[[listener.sender_group]]
name = "RELAY_O365"
policy = "RELAYED"
senders = {senders}
"#
    )
}

fn recipient(pattern: &str) -> String {
    let action = if pattern == "ALL" { "reject" } else { "accept" };
    let pattern = quoted(pattern);
    format!("[[listener.recipient]]\nmatch = {pattern}\naction = \"{action}\"\n\n")
}

fn filter(options: &M365) -> String {
    let header = &options.secret_header;
    let pattern = pattern(&options.secret);
    let weak = match options.secret.len() {
        0..16 => "#\n# The secret is SHORT: choose 16 characters or more, here and in the rule.\n",
        _ => "",
    };
    let (shared, refusal) = if options.inbound == options.outbound {
        (SHARED, format!("if ({}) {{\n            {REFUSE}\n        }}", strangers(options)))
    } else {
        ("", REFUSE.to_owned())
    };
    format!(
        r#"# ---- Message filters ----
#
# A transport rule of your tenant sets {header} to a secret on outgoing
# mail. Mail of another tenant comes from the same servers without it and is refused; its
# sender gets a report from Microsoft. The header is removed before the message goes on, so
# that nobody learns the secret.
#
# Characters of the secret that mean something in a pattern are written as \\xHH.
{weak}{shared}
[filters]
script = '''
office365_outbound:
if (sendergroup == "^RELAY_O365$") {{
    if (header("{header}") == "^{pattern}$") {{
        strip-header("{header}");
    }} else {{
        {refusal}
    }}
}}
'''

"#
    )
}

/// The condition that somebody outside of the tenant's domains is among the recipients.
fn strangers(options: &M365) -> String {
    let patterns = outside(&options.domains);
    let rules: Vec<_> = patterns.iter().map(|it| format!("rcpt-to == \"{it}\"")).collect();
    rules.join("\n            or ")
}

fn routes(options: &M365) -> String {
    let mut out = String::from(
        "# ---- SMTP routes ----
#
# Mail for your domains goes to the MX that Microsoft gave the tenant, not to the MX in the DNS:
# that is this gateway.

",
    );
    for domain in &options.domains {
        out.push_str(&route(domain, &options.tenant_host));
    }
    match &options.smarthost {
        Some(smarthost) => {
            out.push_str("# All other mail goes through this host.\n");
            out.push_str(&route("ALL", smarthost));
        }
        None => out.push_str(
            "# All other mail goes to the MX of its recipients. To send it through one host instead:
# [[smtp_route]]
# domain = \"ALL\"
# hosts = [{ host = \"smarthost.example\", port = 25, priority = 0 }]

",
        ),
    }
    out
}

fn route(domain: &str, host: &str) -> String {
    let HostPort { host, port } = HostPort::parse(host).expect("hosts have been checked");
    let (domain, host) = (quoted(domain), quoted(host));
    format!(
        "[[smtp_route]]\ndomain = {domain}\n\
         hosts = [{{ host = {host}, port = {port}, priority = 0 }}]\n\n"
    )
}

fn destinations(options: &M365) -> String {
    let (tls, why) = match options.tenant_tls {
        TenantTls::None => ("none", "never; for a laboratory only"),
        TenantTls::Preferred => ("preferred", "when it is offered"),
        TenantTls::Required => ("required", "no mail in clear; any certificate will do"),
        TenantTls::Verify => ("required_verify", "no mail but to a host that proves its name"),
    };
    let mut out = String::from(DESTINATIONS);
    for domain in &options.domains {
        let domain = quoted(domain);
        write!(
            out,
            r#"# Ten connections of twenty messages: Microsoft slows down unknown addresses.
# TLS: {why}.
[[destination]]
domain = {domain}
max_connections = 10
max_messages_per_connection = 20
tls = "{tls}"

"#
        )
        .expect("a String takes everything");
    }
    out
}

/// The secret as a pattern inside a filter string: the filter language halves backslashes, and
/// `\xHH` means one character and nothing else to every pattern engine, quotes included.
fn pattern(secret: &str) -> String {
    let mut out = String::new();
    for byte in secret.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            out.push(char::from(byte));
        } else {
            write!(out, "\\\\x{byte:02x}").expect("a String takes everything");
        }
    }
    out
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    debug_assert!(!escaped.chars().any(char::is_control), "options have been checked");
    format!("\"{escaped}\"")
}

fn list(texts: impl Iterator<Item = String>) -> String {
    let texts: Vec<_> = texts.map(|text| quoted(&text)).collect();
    format!("[{}]", texts.join(", "))
}

const POLICIES: &str = r#"# ---- Mail flow policies ----
#
# What a client may do. Which policy it gets is decided by the sender groups below.

# Mail from the Internet, for your recipients only.
[[mail_flow_policy]]
name = "ACCEPTED"
behavior = "accept"
max_messages_per_connection = 100
max_recipients_per_message = 100
# Exchange Online mailboxes take 35 to 36 MB by default: refuse more at once, not by a report.
max_message_size = "35MiB"
max_connections_per_ip = 50
tls = "preferred"

# Mail from Microsoft 365, for anybody. Its connectors always use TLS.
[[mail_flow_policy]]
name = "RELAYED"
behavior = "relay"
max_messages_per_connection = 1000
max_recipients_per_message = 1000
max_message_size = "150MiB"
max_connections_per_ip = 1000
tls = "required"

# Nothing at all.
[[mail_flow_policy]]
name = "BLOCKED"
behavior = "reject"
reject_code = 554
reject_text = "Your host may not send mail here"

"#;

const LISTENERS: &str = r#"# ---- Listeners ----
#
# Sender groups are read from the top; the first one that matches the connecting host decides.
"#;

const BLACKLIST: &str = r#"# Hosts you never want to hear from: 192.0.2.0/24, .example.com.
[[listener.sender_group]]
name = "BLACKLIST"
policy = "BLOCKED"
senders = []
"#;

const ALL_ACCEPTED: &str = r#"[[listener.sender_group]]
name = "ALL"
policy = "ACCEPTED"
"#;

const RECIPIENTS: &str = r#"# Whom mail from the Internet may be for; nobody else: no open relay.
# "example.com" does not include "sub.example.com"; write ".example.com" for those."#;

const DESTINATIONS: &str = r#"# ---- Destination controls ----
#
# How hard this gateway may press on a recipient domain, over all shards together.

[[destination]]
domain = "Default"
max_connections = 500
max_messages_per_connection = 50
tls = "preferred"

"#;

const QUEUE: &str = r#"# ---- When delivery fails ----
#
# The first retry after a minute, then twice as long each time up to half an hour, for five days:
# the tenant has no other way in, so a long outage should not bounce the mail of everybody.

[bounce_profile]
max_retries = 300
max_time_in_queue = "5d"
initial_retry = "60s"
max_retry = "30m"
"#;

const REFUSE: &str =
    r#"reject("550 5.7.1 Relaying denied: this mail does not come from our tenant");"#;

const SHARED: &str = r#"#
# Other tenants also write to you from these servers, to this very listener. That is welcome:
# without the secret, mail is refused only if a recipient is outside of your domains. The long
# pattern says "ends in something else than @ and one of your domains". It belongs to the list
# of domains: after adding one, write this file anew with `ringpost init m365`.
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_itself_only() {
        assert_eq!(pattern("aB9_"), "aB9_");
        assert_eq!(pattern("a.b"), "a\\\\x2eb");
        assert_eq!(pattern("'''\"\\"), "\\\\x27\\\\x27\\\\x27\\\\x22\\\\x5c");
    }

    #[test]
    fn strings_stay_strings() {
        assert_eq!(quoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
        assert_eq!(list(["a".to_owned(), "b".to_owned()].into_iter()), "[\"a\", \"b\"]");
    }
}

//! Who may send what to whom: sender groups, mail flow policies, recipients, filters.

use std::net::Ipv4Addr;

use crate::{
    conversation::{Conversation, message},
    directory::Directory,
    dns::Dns,
    gateway::{Gateway, Setting, route},
    patience::seconds,
    process::{free_port, python},
    sink::{Sink, without_received},
};

#[test]
fn recipients_are_those_of_the_recipient_table() {
    let directory = Directory::new();
    let gateway = public(&directory, 1).start();
    let mut client = gateway.client();
    client.ask("MAIL FROM:<a@sender.example>", "250 ");
    client.ask("RCPT TO:<b@tenant.example>", "250 ");
    client.ask("RCPT TO:<B@TENANT.EXAMPLE>", "250 ");
    client.ask("RCPT TO:<b@sub.tenant.example>", "550 5.1.1");
    client.ask("RCPT TO:<b@foreign.example>", "550 5.1.1");
    client.ask("RCPT TO:<b@foreign.example@tenant.example>", "5");
    client.ask("RCPT TO:<b%foreign.example@foreign.example>", "550 ");
    client.ask("RCPT TO:<gone@tenant.example>", "551 5.1.6 Moved to the moon");
    client.ask("RCPT TO:<b@deep.sub.wide.example>", "250 ");
    client.ask("RCPT TO:<b@wide.example>", "550 5.1.1");
    client.ask("RSET", "250 ");
    gateway.wait_for_line(&["MID", "ICID", "To: <b@foreign.example> Rejected by RAT"]);
    gateway.stop();
}

#[test]
fn sender_groups_decide_by_address() {
    let directory = Directory::new();
    let gateway = public(&directory, 1).start();
    let mut blocked = Conversation::open_from(Ipv4Addr::new(127, 0, 9, 1), gateway.port);
    blocked.expect("554 ");
    blocked.ask("MAIL FROM:<a@sender.example>", "5");
    let mut dropped = Conversation::open_from(Ipv4Addr::new(127, 0, 9, 2), gateway.port);
    assert!(dropped.is_closed(), "TCPREFUSE says nothing");
    let mut relay = Conversation::open_from(Ipv4Addr::new(127, 0, 9, 3), gateway.port);
    relay.expect("220 ");
    relay.ask("EHLO relay.example", "250");
    relay.ask("MAIL FROM:<a@tenant.example>", "250 ");
    relay.ask("RCPT TO:<b@anywhere.example>", "250 ");
    drop(relay);
    gateway.wait_for_line(&["REJECT SG BLOCKED match 127.0.9.1"]);
    gateway.wait_for_line(&["TCPREFUSE SG NOBODY match 127.0.9.2"]);
    gateway.wait_for_line(&["RELAY SG RELAYLIST match 127.0.9.3"]);
    gateway.client();
    gateway.wait_for_line(&["ACCEPT SG", "match ALL"]);
    gateway.stop();
}

#[test]
fn one_address_has_so_many_connections() {
    let directory = Directory::new();
    let gateway = public(&directory, 1).start();
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut client = Conversation::open(gateway.port);
        client.expect("220 ");
        open.push(client);
    }
    let mut one_more = Conversation::open(gateway.port);
    one_more.expect("421 Too many connections");
    assert!(one_more.is_closed());
    let mut other = Conversation::open_from(Ipv4Addr::new(127, 0, 8, 1), gateway.port);
    other.expect("220 ");
    let mut leaver = open.pop().expect("three are open");
    leaver.ask("QUIT", "221 ");
    assert!(leaver.is_closed());
    crate::patience::until(seconds(5), "the place is free again", || {
        let mut client = Conversation::open(gateway.port);
        client.reply().starts_with("220 ").then_some(())
    });
    gateway.stop();
}

#[test]
fn a_connection_has_so_many_messages_and_a_message_so_many_recipients() {
    let directory = Directory::new();
    let sink = Sink::start(&directory, &[]);
    let gateway = public(&directory, sink.port).start();
    let mut client = gateway.client();
    for number in 0..2 {
        let content = message(&format!("e2e-{number}"), "", "one of two");
        let reply = client.transact("a@sender.example", "b@tenant.example", &content);
        assert!(reply.starts_with("250 "), "{reply}");
    }
    client.ask("MAIL FROM:<a@sender.example>", "421 ");
    let mut client = gateway.client();
    client.ask("MAIL FROM:<a@sender.example>", "250 ");
    for number in 0..4 {
        client.ask(&format!("RCPT TO:<b{number}@tenant.example>"), "250 ");
    }
    client.ask("RCPT TO:<b5@tenant.example>", "452 4.5.3");
    gateway.stop();
}

#[test]
fn large_messages_are_refused_when_announced_and_when_they_come() {
    let directory = Directory::new();
    let gateway = public(&directory, 1).start();
    let mut client = Conversation::open(gateway.port);
    client.expect("220 ");
    let extensions = client.ask("EHLO client.example", "250");
    assert!(extensions.contains("SIZE 65536\r\n"), "{extensions}");
    client.ask("MAIL FROM:<a@sender.example> SIZE=65537", "552 5.3.4");
    let content = message("e2e-1", "", &"seventy octets of text on one line\r\n".repeat(3000));
    let reply = client.transact("a@sender.example", "b@tenant.example", &content);
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    client.ask("NOOP", "250 ");
    gateway.stop();
}

#[test]
fn the_filter_of_the_field_drops_what_lacks_the_secret() {
    let directory = Directory::new();
    let sink = Sink::keeping(&directory, &[]);
    let gateway = filtered(&directory, sink.port, "drop();").start();
    let mut client = gateway.client();
    let mut send = |content: &str| client.transact("a@sender.example", "b@out.example", content);
    let reply = send(&message("e2e-none", "", "not ours"));
    assert!(reply.starts_with("250 "), "{reply}");
    let reply = send(&message("e2e-wrong", "X-OUTBOUND-AUTH: mysecretkeyx\r\n", "not ours"));
    assert!(reply.starts_with("250 "), "{reply}");
    let reply = send(&message("e2e-right", "X-Outbound-Auth: mysecretkey\r\n", "ours"));
    assert!(reply.starts_with("250 "), "{reply}");
    let came = sink.content("e2e-right");
    assert_eq!(
        String::from_utf8_lossy(without_received(&came)),
        message("e2e-right", "", "ours"),
        "the header is gone and nothing else"
    );
    gateway.wait_until_empty(seconds(10));
    assert_eq!(sink.kept().len(), 1, "{:?}", sink.kept());
    let line =
        gateway.wait_for_line(&["Message aborted MID", "Dropped by filter 'office365_outbound'"]);
    let mid = number_after(&line, "MID ");
    assert_eq!(
        line.split("Info: ").nth(1),
        Some(&*format!("Message aborted MID {mid} Dropped by filter 'office365_outbound'"))
    );
    gateway.wait_for_line(&[&format!("Message finished MID {mid} aborted")]);
    let status = gateway.status();
    assert_eq!(status["counters"]["dropped_messages"], 2);
    gateway.stop();
}

#[test]
fn a_rejecting_filter_answers_at_the_final_dot() {
    let directory = Directory::new();
    let sink = Sink::keeping(&directory, &[]);
    let action = "reject(\"550 5.7.1 Not from our tenant\");";
    let gateway = filtered(&directory, sink.port, action).start();
    let mut client = gateway.client();
    let reply = client.transact("a@sender.example", "b@out.example", &message("e2e-1", "", "no"));
    assert_eq!(reply, "550 5.7.1 Not from our tenant\r\n");
    let secret = "X-OUTBOUND-AUTH: mysecretkey\r\n";
    let reply =
        client.transact("a@sender.example", "b@out.example", &message("e2e-2", secret, "yes"));
    assert!(reply.starts_with("250 "), "{reply}");
    sink.content("e2e-2");
    gateway.stop();
}

#[test]
fn init_m365_writes_a_gateway_that_keeps_other_tenants_out() {
    let directory = Directory::new();
    let sink = Sink::keeping(&directory, &[]);
    let port = free_port();
    let dns = Dns::start(&directory);
    let configuration = directory.join("m365.toml");
    let secret = directory.write("secret", "0123456789abcdef0123\n");
    let path = |path: &std::path::Path| path.to_str().expect("our paths are ASCII").to_owned();
    let (code, said) = crate::gateway::ringpost(&[
        "init",
        "m365",
        "--domain",
        "tenant.example",
        "--tenant-host",
        &format!("127.0.0.1:{}", sink.port),
        "--smarthost",
        &format!("127.0.0.1:{}", sink.port),
        "--tenant-tls",
        "none",
        "--hostname",
        "gateway.example",
        "--secret-file",
        &path(&secret),
        "--data-dir",
        &path(&directory.join("data")),
        "--inbound",
        &format!("127.0.0.1:{port}"),
        "--outbound",
        &format!("127.0.0.1:{port}"),
        "--relay-sender",
        "127.0.7.1",
        "--dns",
        &format!("127.0.0.1:{}", dns.port),
        "--output",
        &path(&configuration),
    ]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = crate::gateway::ringpost(&["check", "--config", &path(&configuration)]);
    assert_eq!(code, Some(0), "{said}");
    let gateway = Gateway::of_file(&directory, configuration, port);
    let mut inbound = Conversation::open(port);
    inbound.expect("220 ");
    inbound.ask("EHLO world.example", "250");
    let reply =
        inbound.transact("x@world.example", "b@tenant.example", &message("e2e-in", "", "i"));
    assert!(reply.starts_with("250 "), "{reply}");
    inbound.ask("MAIL FROM:<x@world.example>", "250 ");
    inbound.ask("RCPT TO:<b@world.example>", "550 ");
    let other = message("e2e-other", "", "of another tenant");
    let secret = "X-OUTBOUND-AUTH: 0123456789abcdef0123\r\n";
    let ours = message("e2e-out", secret, "of our tenant");
    let said = python(EXCHANGE_ONLINE, &[&port.to_string(), &other, &ours]);
    assert_eq!(said, "530 550 250\n", "without TLS, without the secret, with both");
    sink.content("e2e-in");
    let came = sink.content("e2e-out");
    assert!(!String::from_utf8_lossy(&came).contains("0123456789abcdef0123"));
    assert_eq!(sink.kept().len(), 2, "{:?}", sink.kept());
    gateway.stop();
}

/// A public listener with one group of each kind, small limits, and a recipient table.
fn public(directory: &Directory, next_hop: u16) -> Setting<'_> {
    let port = free_port();
    let tables = format!(
        r#"[[mail_flow_policy]]
name = "ACCEPTED"
behavior = "accept"
max_connections_per_ip = 3
max_messages_per_connection = 2
max_recipients_per_message = 4
max_message_size = "64KiB"

[[mail_flow_policy]]
name = "TCPREFUSED"
behavior = "tcprefuse"

[[listener]]
name = "Public"
addresses = ["127.0.0.1:{port}"]
kind = "public"

  [[listener.sender_group]]
  name = "BLOCKED"
  policy = "BLOCKED"
  senders = ["127.0.9.1"]

  [[listener.sender_group]]
  name = "NOBODY"
  policy = "TCPREFUSED"
  senders = ["127.0.9.2"]

  [[listener.sender_group]]
  name = "RELAYLIST"
  policy = "RELAYED"
  senders = ["127.0.9.3"]

  [[listener.recipient]]
  match = "gone@tenant.example"
  action = "reject"
  reply = "551 5.1.6 Moved to the moon"

  [[listener.recipient]]
  match = "tenant.example"
  action = "accept"

  [[listener.recipient]]
  match = ".wide.example"
  action = "accept"

{}"#,
        route("ALL", next_hop)
    );
    Setting::with_listener(directory, port, tables)
}

/// A relay with the filter of the field, unchanged but for what it does without the secret.
fn filtered<'a>(directory: &'a Directory, next_hop: u16, otherwise: &str) -> Setting<'a> {
    let filter = format!(
        "[filters]\nscript = '''\n\
         office365_outbound: if sendergroup == \"RELAYLIST\" {{\n\
         if header(\"X-OUTBOUND-AUTH\") == \"^mysecretkey$\" {{\n\
         strip-header(\"X-OUTBOUND-AUTH\");\n\
         }} else {{\n\
         {otherwise}\n\
         }}\n\
         }}\n'''\n\n"
    );
    Setting::relay(directory, &format!("{filter}{}", route("ALL", next_hop)))
}

fn number_after(line: &str, word: &str) -> u64 {
    let rest = line.split(word).nth(1).expect("the word is in the line");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number follows")
}

/// Sends mail from an address that may relay: in the clear, then over TLS another's and ours.
const EXCHANGE_ONLINE: &str = r#"
import smtplib, ssl, sys
port, other, ours = int(sys.argv[1]), sys.argv[2].encode(), sys.argv[3].encode()
tls = ssl.create_default_context()
tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
with smtplib.SMTP("127.0.0.1", port, timeout=20, source_address=("127.0.7.1", 0)) as s:
    s.ehlo()
    codes = [s.mail("b@tenant.example")[0]]
    s.starttls(context=tls)
    s.ehlo()
    for content in other, ours:
        s.mail("b@tenant.example")
        s.rcpt("x@world.example")
        codes.append(s.data(content)[0])
    print(*codes)
"#;

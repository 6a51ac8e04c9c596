//! Taking mail from the clients of the field, and passing on exactly what they sent.

use std::fs;

use crate::{
    conversation::message,
    directory::Directory,
    gateway::{Setting, route},
    patience::{seconds, until},
    postfix::{Postfix, SmtpSink, smtp_source},
    process::{is_root, python},
    sink::{Sink, without_received},
};

#[test]
fn what_smtp_source_sends_arrives_at_smtp_sink() {
    let directory = Directory::new();
    let sink = SmtpSink::start(&directory, &[]);
    let gateway = Setting::relay(&directory, &route("ALL", sink.port)).start();
    smtp_source(gateway.port, &["-s", "10", "-m", "300", "-l", "4096", "-f", "a@b.example"]);
    until(seconds(30), "300 messages arrive", || (sink.transactions().len() >= 300).then_some(()));
    gateway.wait_until_empty(seconds(10));
    let transactions = sink.transactions();
    assert_eq!(transactions.len(), 300);
    for one in transactions {
        assert!(one.contains("X-Mail-Args: <a@b.example>"), "{one}");
        assert!(one.contains("by gateway.example"), "{one}");
        assert!(one.len() > 4096, "{one}");
    }
    gateway.stop();
}

#[test]
fn contents_of_smtplib_arrive_byte_for_byte_behind_one_received() {
    let directory = Directory::new();
    let sink = Sink::keeping(&directory, &[]);
    let gateway = Setting::relay(&directory, &route("ALL", sink.port)).start();
    let folder = directory.folder("sent");
    python(SMTPLIB, &[&gateway.port.to_string(), folder.to_str().expect("our paths are ASCII")]);
    for token in ["e2e-1", "e2e-2", "e2e-3", "e2e-4"] {
        let sent = fs::read(folder.join(token)).expect("Python wrote it");
        let came = sink.content(token);
        assert!(sent == without_received(&came), "{token} was changed on its way");
    }
    let came = String::from_utf8(sink.content("e2e-2")).expect("it was UTF-8");
    assert!(came.contains("with UTF8SMTP") || came.contains("with ESMTP"), "{came}");
    gateway.wait_for_line(&["From: <jörg@straße.example>"]);
    gateway.stop();
}

#[test]
fn a_whole_postfix_takes_and_stores_mail() {
    if !is_root() {
        println!("skipped: Postfix starts only as root");
        return;
    }
    let directory = Directory::new();
    let postfix = Postfix::start(&directory);
    let gateway = Setting::relay(&directory, &route("ALL", postfix.port)).start();
    let dots = "first\r\n..two dots\r\n.\tone dot and a tab\r\n\r\nlast, with ümläuts";
    let content = message("e2e-1", "X-Odd:   three  spaces \r\n\tand a fold\r\n", dots);
    python(
        "import smtplib, sys\n\
         with smtplib.SMTP('127.0.0.1', int(sys.argv[1])) as s:\n\
         \x20   s.sendmail('a@sender.example', ['b@remote.example'], sys.argv[2].encode(), \
         ['BODY=8BITMIME'])\n\
         \x20   s.sendmail('', ['b@remote.example'], sys.argv[2].encode())\n",
        &[&gateway.port.to_string(), &content],
    );
    for stored in postfix.mailbox(2) {
        // A Maildir has LF for CRLF.
        let stored = String::from_utf8(stored).expect("it was UTF-8").replace('\n', "\r\n");
        let Some(front) = stored.strip_suffix(&content) else {
            panic!("changed on its way:\n{stored}\nfrom:\n{content}");
        };
        let received = front.matches("Received: ").count();
        assert_eq!(received, 2, "one of ours, one of Postfix: {front}");
    }
    gateway.wait_for_line(&["Response", "queued as"]);
    gateway.stop();
    assert!(!postfix.log().contains("reject:"), "{}", postfix.log());
}

#[test]
fn bare_line_endings_smuggle_nothing() {
    let directory = Directory::new();
    let sink = Sink::keeping(&directory, &[]);
    let gateway = Setting::relay(&directory, &route("ALL", sink.port)).start();
    for (number, end) in ["\n.\n", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r"].iter().enumerate() {
        let mut client = gateway.client();
        client.ask("MAIL FROM:<a@sender.example>", "250 ");
        client.ask("RCPT TO:<b@remote.example>", "250 ");
        client.ask("DATA", "354 ");
        let inner = message("e2e-smuggled", "", "you should never see this");
        client.send(message(&format!("e2e-{number}"), "", "outer").as_bytes());
        client.send(format!("{end}MAIL FROM:<admin@x.example>\r\n").as_bytes());
        client.send(format!("RCPT TO:<b@remote.example>\r\nDATA\r\n{inner}\r\n.\r\n").as_bytes());
        let reply = client.reply();
        assert!(reply.starts_with('5'), "{end:?}: {reply}");
        client.ask("NOOP", "250 ");
    }
    let mut client = gateway.client();
    let reply = client.transact(
        "a@sender.example",
        "b@remote.example",
        &message("e2e-last", "", "the end"),
    );
    assert!(reply.starts_with("250 "), "{reply}");
    sink.content("e2e-last");
    gateway.wait_until_empty(seconds(10));
    assert_eq!(sink.kept().len(), 1, "{:?}", sink.kept());
    gateway.stop();
}

/// Sends four messages and leaves each in a file: 7-bit, internationalised, 8-bit, 5 MB.
const SMTPLIB: &str = r#"
import pathlib, random, smtplib, sys
port, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
def content(token, subject, body):
    head = f"From: A <a@sender.example>\r\nSubject: {subject}\r\nX-Perf-Token: {token}\r\n\r\n"
    return head.encode() + body
random.seed(1)
large = b"".join(random.randbytes(36).hex().encode() + b"\r\n" for _ in range(5_000_000 // 74))
mails = [
    ("e2e-1", "a@sender.example", [], content("e2e-1", "plain", b"hello\r\n.\r\n..\r\n\r\n\r\n")),
    ("e2e-2", "j\u00f6rg@stra\u00dfe.example", ["SMTPUTF8", "BODY=8BITMIME"],
     content("e2e-2", "gr\u00fc\u00dfe", "\u4f60\u597d\r\n".encode())),
    ("e2e-3", "a@sender.example", ["BODY=8BITMIME"],
     content("e2e-3", "8 bit", bytes(b for b in range(1, 256) if b not in (10, 13)) + b"\r\n")),
    ("e2e-4", "a@sender.example", [], content("e2e-4", "large", large)),
]
with smtplib.SMTP("127.0.0.1", port, timeout=60) as s:
    s.ehlo()
    assert s.has_extn("smtputf8") and s.has_extn("8bitmime") and s.has_extn("pipelining")
    for token, sender, options, octets in mails:
        (folder / token).write_bytes(octets)
        s.sendmail(sender, ["b@remote.example"], octets, options)
"#;

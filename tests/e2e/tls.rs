//! STARTTLS as swaks and OpenSSL do it, and as an attacker would like to.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use crate::{
    directory::Directory,
    gateway::{Setting, route},
    process::succeed,
    sink::{Sink, without_received},
};

#[test]
fn swaks_sends_attachments_over_tls_1_2_and_1_3() {
    let directory = Directory::new();
    let sink = Sink::keeping(&directory, &[]);
    let gateway = Setting::relay(&directory, &route("ALL", sink.port)).start();
    let attachment: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let attachment = directory.write("attachment.bin", attachment);
    for (token, protocol) in [("e2e-12", "tlsv1_2"), ("e2e-13", "tlsv1_3")] {
        let said = succeed(
            Command::new("swaks")
                .args(["--server", "127.0.0.1", "--port", &gateway.port.to_string()])
                .args(["--from", "a@sender.example", "--to", "b@remote.example"])
                .args(["--tls", "--tls-protocol", protocol])
                .args(["--add-header", &format!("X-Perf-Token: {token}")])
                .arg("--attach")
                .arg(format!("@{}", attachment.display())),
        );
        assert!(said.contains("TLS started"), "{said}");
        let came = String::from_utf8(sink.content(token)).expect("it is base64");
        let version = protocol.replace("tlsv", "TLSv").replace('_', ".");
        let received = &came[..came.len() - without_received(came.as_bytes()).len()];
        assert!(received.contains("with ESMTPS"), "{received}");
        assert!(received.contains(&version.replace("TLSv", "")), "{received}");
        assert!(came.contains("AAECAwQFBgcICQoLDA0ODxAREhMU"), "the attachment is in it");
        gateway.wait_for_line(&["TLS success protocol", &version, "cipher"]);
    }
    gateway.stop();
}

#[test]
fn openssl_finds_starttls() {
    let directory = Directory::new();
    let gateway = Setting::relay(&directory, &route("ALL", 1)).start();
    let server = format!("127.0.0.1:{}", gateway.port);
    let mut client = Command::new("timeout")
        .args(["30", "openssl", "s_client", "-quiet", "-starttls", "smtp", "-connect", &server])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed");
    let mut input = client.stdin.take().expect("it was asked for");
    let output = client.stdout.take().expect("it was asked for");
    input.write_all(b"EHLO tls.example\r\n").expect("openssl reads");
    let mut said = String::new();
    for line in BufReader::new(output).lines() {
        let line = line.expect("replies are ASCII");
        if said.contains("250-gateway.example") && line.starts_with("250 ") {
            input.write_all(b"QUIT\r\n").expect("openssl reads");
        }
        said.push_str(&line);
        said.push('\n');
    }
    client.wait().expect("openssl ends");
    assert!(said.contains("250-gateway.example"), "{said}");
    assert!(!said.contains("STARTTLS"), "offered within TLS: {said}");
    assert!(said.contains("221 "), "{said}");
    gateway.stop();
}

#[test]
fn what_is_pipelined_behind_starttls_is_never_obeyed() {
    let directory = Directory::new();
    let gateway = Setting::relay(&directory, &route("ALL", 1)).start();
    let mut client = gateway.client();
    client.send(b"STARTTLS\r\nMAIL FROM:<injected@sender.example>\r\n");
    client.expect("554 5.5.0");
    assert!(client.is_closed(), "nothing follows, in the clear or within TLS");
    assert!(!gateway.mail_logs().contains("injected"), "{}", gateway.mail_logs());
    gateway.stop();
}

#[test]
fn mail_goes_out_over_tls_when_it_must() {
    let directory = Directory::new();
    let sink = Sink::keeping(&directory, &["--starttls"]);
    let tables = format!(
        "{}[[destination]]\ndomain = \"Default\"\ntls = \"required\"\n",
        route("ALL", sink.port)
    );
    let gateway = Setting::relay(&directory, &tables).start();
    let content = crate::conversation::message("e2e-1", "", "secret");
    let reply = gateway.client().transact("a@sender.example", "b@remote.example", &content);
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(without_received(&sink.content("e2e-1")), content.as_bytes());
    gateway.wait_for_line(&["DCID", "TLS success protocol TLSv1.3"]);
    gateway.stop();
}

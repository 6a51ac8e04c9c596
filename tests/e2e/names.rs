//! What the DNS says about clients and next hops, with a DNS server that says it.

use std::{net::Ipv4Addr, net::TcpListener};

use crate::{
    conversation::{Conversation, message},
    directory::Directory,
    dns::Dns,
    gateway::{Setting, limits, relay_listener},
    patience::seconds,
    process::{free_port, is_root},
    sink::Sink,
};

#[test]
fn microsoft_is_recognised_only_when_its_name_leads_back() {
    let directory = Directory::new();
    let port = free_port();
    let tables = format!(
        r#"[[listener]]
name = "Inbound"
addresses = ["127.0.0.1:{port}"]
kind = "public"

  [[listener.sender_group]]
  name = "RELAY_O365"
  policy = "RELAYED"
  senders = [".protection.outlook.com"]

  [[listener.sender_group]]
  name = "UNNAMED"
  policy = "THROTTLED"
  senders = ["nx.domain"]

  [[listener.recipient]]
  match = "tenant.example"
  action = "accept"
"#
    );
    let setting = Setting::with_listener(&directory, port, tables);
    let gateway = setting.start();
    let foreign = |last: u8| {
        let mut client = Conversation::open_from(Ipv4Addr::new(127, 0, 5, last), port);
        client.expect("220 ");
        client.ask("EHLO mail.example", "250");
        client.ask("MAIL FROM:<a@tenant.example>", "250 ");
        client.say("RCPT TO:<b@foreign.example>");
        client.reply()
    };
    let confirmed = foreign(1);
    assert!(confirmed.starts_with("250 "), "confirmed both ways: {confirmed}");
    let forged = foreign(2);
    assert!(forged.starts_with("550 "), "its name leads elsewhere: {forged}");
    let nameless = foreign(3);
    assert!(nameless.starts_with("550 "), "it has no name: {nameless}");
    let outsider = foreign(4);
    assert!(outsider.starts_with("550 "), "its name is another: {outsider}");
    gateway.wait_for_line(&[
        "address 127.0.5.1 reverse dns host mail-a.outbound.protection.outlook.com verified yes",
    ]);
    gateway.wait_for_line(&["address 127.0.5.2 reverse dns host", "verified no"]);
    gateway.wait_for_line(&["address 127.0.5.3 reverse dns host unknown verified no"]);
    gateway.wait_for_line(&["ACCEPT SG UNNAMED match nx.domain"]);
    gateway.wait_for_line(&["RELAY SG RELAY_O365 match .protection.outlook.com"]);
    gateway.stop();
}

#[test]
fn domains_that_take_no_mail_or_do_not_exist_bounce_at_once() {
    let directory = Directory::new();
    let sink = Sink::keeping(&directory, &[]);
    let tables = crate::gateway::route("sender.example", sink.port);
    let setting = Setting::relay(&directory, &tables);
    let gateway = setting.start();
    let mut client = gateway.client();
    for (domain, status) in [("nullmx.example", "5.1.10"), ("nowhere.example", "5.1.2")] {
        let to = format!("b@{domain}");
        let reply = client.transact("a@sender.example", &to, &message("e2e-1", "", "lost"));
        assert!(reply.starts_with("250 "), "{reply}");
        gateway.wait_for_line(&["Bounced: DCID 0 MID", status]);
    }
    gateway.wait_for_line(&["DNS Error nullmx.example MX - Null MX"]);
    gateway.wait_for_line(&["DNS Error nowhere.example MX - NXDomain"]);
    crate::patience::until(seconds(20), "two reports", || (sink.kept().len() == 2).then_some(()));
    gateway.wait_until_empty(seconds(10));
    gateway.stop();
}

#[test]
fn a_route_to_a_name_asks_the_dns_for_its_address() {
    let directory = Directory::new();
    let sink = Sink::keeping(&directory, &[]);
    let tables = format!(
        "[[smtp_route]]\ndomain = \"ALL\"\n\
         hosts = [{{ host = \"hop.example\", port = {} }}]\n",
        sink.port
    );
    let setting = Setting::relay(&directory, &tables);
    let gateway = setting.start();
    let content = message("e2e-1", "", "by name");
    let reply = gateway.client().transact("a@sender.example", "b@x.example", &content);
    assert!(reply.starts_with("250 "), "{reply}");
    sink.content("e2e-1");
    gateway.stop();
}

#[test]
fn the_preferred_exchanger_is_tried_first_and_the_next_when_it_is_away() {
    // Real MX look-ups lead to port 25, which only root may listen on.
    let first = Ipv4Addr::new(127, 0, 6, 10);
    let is_free = |address: Ipv4Addr| TcpListener::bind((address, 25)).is_ok();
    if !is_root() || !is_free(first) || !is_free(Ipv4Addr::new(127, 0, 6, 20)) {
        println!("skipped: port 25 of 127.0.6.10 and 127.0.6.20 cannot be listened on");
        return;
    }
    let directory = Directory::new();
    let preferred = Directory::new();
    let retries = "[bounce_profile]\ninitial_retry = \"1s\"\nmax_retry = \"1s\"\n";
    let setting = Setting::relay(&directory, retries);
    let gateway = setting.start();
    let backup = Sink::keeping_at(&directory, "127.0.6.20:25");
    let mut client = gateway.client();
    let mut send = |token: &str| {
        let content = message(token, "", "by MX");
        let reply = client.transact("a@sender.example", "b@mx.example", &content);
        assert!(reply.starts_with("250 "), "{reply}");
    };
    send("e2e-1");
    backup.content("e2e-1");
    gateway.wait_for_line(&["Connection Error", "127.0.6.10"]);
    drop(gateway);
    let gateway = setting.start();
    let mut client = gateway.client();
    let best = Sink::keeping_at(&preferred, "127.0.6.10:25");
    let content = message("e2e-2", "", "by MX");
    let reply = client.transact("a@sender.example", "b@mx.example", &content);
    assert!(reply.starts_with("250 "), "{reply}");
    best.content("e2e-2");
    let content = message("e2e-3", "", "by address");
    let reply = client.transact("a@sender.example", "b@nomx.example", &content);
    assert!(reply.starts_with("250 "), "{reply}");
    best.content("e2e-3");
    assert_eq!(backup.kept().len(), 1, "{:?}", backup.kept());
    gateway.stop();
}

#[test]
fn an_unanswered_reverse_lookup_holds_nobody_up_for_long() {
    let directory = Directory::new();
    let silent = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    let port = free_port();
    let tables = format!("{}{}", relay_listener(port), limits(10, 20));
    let setting = Setting {
        dns: Dns::at(silent.local_addr().expect("it is bound").port()),
        ..Setting::with_listener(&directory, port, tables)
    };
    let gateway = setting.start();
    let start = std::time::Instant::now();
    let mut client = Conversation::open(port);
    client.expect("220 ");
    assert!(start.elapsed() < seconds(10), "{:?}", start.elapsed());
    gateway.stop();
}

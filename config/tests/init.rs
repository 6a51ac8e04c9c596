//! The initial configuration of the Microsoft 365 scenario means what its comments say.

use std::{io, net::IpAddr, path::Path};

use bytes::Bytes;
use ringpost_config::{
    Diagnostic, Loaded, MailLogs, Snapshot, Workers,
    init::{M365, TenantTls, m365},
    load,
};
use ringpost_core::{
    address::{Address, ReversePath},
    envelope::{Body, Envelope, Notify, Recipient},
    event::Access,
    id::Mid,
    lookup::ClientName,
    message::header::Header,
    time::Date,
};
use ringpost_delivery::{
    destination::Tls,
    route::{Host, Route},
};
use ringpost_policy::{
    filter::{Disposition, Examined},
    mail_flow::Tls as ReceivingTls,
};

fn options() -> M365 {
    M365::new("contoso.example", "contoso.mail.protection.outlook.com", "a-long-enough-secret")
}

fn adopt(options: &M365) -> Snapshot {
    let text = m365(options).expect("good options");
    let mut read = |_: &Path| io::Result::Ok(text.clone());
    match load(Path::new("/etc/ringpost/ringpost.toml"), &mut read) {
        Ok(Loaded { snapshot, warnings }) => {
            assert_eq!(warnings, [], "{}", explain(&warnings));
            snapshot
        }
        Err(diagnostics) => panic!("{}\n{text}", explain(&diagnostics)),
    }
}

fn explain(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect()
}

fn verified(name: &str) -> ClientName {
    ClientName::Verified(name.into())
}

#[test]
fn one_listener_serves_both_directions() {
    let snapshot = adopt(&options());
    let [listener] = snapshot.listeners.as_slice() else { panic!("one listener") };
    assert_eq!(listener.addresses, ["0.0.0.0:25".parse().expect("an address")]);
    let address: IpAddr = [192, 0, 2, 1].into();
    let name = verified("mail-x.outbound.protection.outlook.com");
    let microsoft = listener.hat.classify(address, &name);
    assert_eq!(microsoft.group.map(|group| &**group), Some("RELAY_O365"));
    assert_eq!((microsoft.access, microsoft.policy.tls), (Access::Relay, ReceivingTls::Required));
    let anybody = listener.hat.classify(address, &verified("mx.fabrikam.example"));
    assert_eq!((anybody.access, anybody.group.is_none()), (Access::Accept, true));
    assert_eq!(anybody.policy.tls, ReceivingTls::Preferred);
    let rat = listener.rat().expect("a public listener");
    assert!(rat.admit(&Address::from_text("a@Contoso.example")).accept);
    assert!(!rat.admit(&Address::from_text("a@sub.contoso.example")).accept);
    assert!(!rat.admit(&Address::from_text("a@fabrikam.example")).accept);
}

#[test]
fn two_listeners_know_their_directions() {
    let mut options = options();
    options.inbound = "127.0.0.1:2525".parse().expect("an address");
    options.outbound = "127.0.0.1:2526".parse().expect("an address");
    options.relay_senders = vec!["127.0.0.2".into(), "::1".into()];
    let snapshot = adopt(&options);
    let inbound = snapshot.listener("Inbound").expect("a listener");
    let outbound = snapshot.listener("Outbound").expect("a listener");
    assert_eq!((inbound.addresses[0], outbound.addresses[0]), (options.inbound, options.outbound));
    assert!(inbound.rat().is_some() && outbound.rat().is_none());
    let access = |address: [u8; 4]| {
        let listeners = [inbound, outbound];
        listeners.map(|it| it.hat.classify(address.into(), &ClientName::NoName).access)
    };
    assert_eq!(access([127, 0, 0, 2]), [Access::Accept, Access::Relay]);
    assert_eq!(access([192, 0, 2, 1]), [Access::Accept, Access::Reject]);
}

#[test]
fn mail_goes_to_the_tenant_gently() {
    let mut options = options();
    options.domains.push("fabrikam.example".into());
    for (tenant_tls, tls) in [
        (TenantTls::None, Tls::None),
        (TenantTls::Preferred, Tls::Preferred),
        (TenantTls::Required, Tls::Required),
        (TenantTls::Verify, Tls::RequiredVerify),
    ] {
        options.tenant_tls = tenant_tls;
        let snapshot = adopt(&options);
        for domain in &options.domains {
            let control = snapshot.destinations.find(domain);
            assert_eq!((control.max_connections, control.max_messages_per_connection), (10, 20));
            assert_eq!(control.tls, tls);
            let Some(Route::Hosts(hosts)) = snapshot.routes.find(domain) else { panic!("hosts") };
            assert_eq!(hosts[0].host, Host::Name(options.tenant_host.as_str().into()));
            assert_eq!(hosts[0].port, 25);
        }
        let others = snapshot.destinations.find("else.example");
        assert_eq!((others.max_connections, others.max_messages_per_connection), (500, 50));
        assert_eq!(others.tls, Tls::Preferred);
        assert_eq!(snapshot.routes.find("else.example"), None);
    }
}

#[test]
fn every_option_arrives() {
    let mut options = options();
    options.hostname = "gate.contoso.example".into();
    options.data_dir = "/tmp/a \"strange\" \\ place/".into();
    options.dns_servers = vec!["127.0.0.1:5353".parse().expect("an address")];
    options.admin = "127.0.0.1:8443".parse().ok();
    options.smarthost = Some("[2001:db8::1]:2525".into());
    options.workers = Some(3);
    let snapshot = adopt(&options);
    assert_eq!(&*snapshot.hostname, "gate.contoso.example");
    assert_eq!(snapshot.data_dir, Path::new("/tmp/a \"strange\" \\ place"));
    assert_eq!(snapshot.control.socket, snapshot.data_dir.join("control.sock"));
    assert_eq!(snapshot.logs.mail_logs, MailLogs::File(snapshot.data_dir.join("mail_logs")));
    assert_eq!(
        (snapshot.dns.servers, snapshot.control.admin),
        (options.dns_servers, options.admin)
    );
    assert_eq!(snapshot.workers, Workers::Exactly(3));
    let Some(Route::Hosts(hosts)) = snapshot.routes.find("else.example") else { panic!("hosts") };
    assert_eq!((&hosts[0].host, hosts[0].port), (&Host::parse("2001:db8::1").expect("one"), 2525));
}

/// What becomes of a message with that header block from that sender group, and its header then.
fn filtered(snapshot: &Snapshot, group: Option<&str>, block: &str) -> (Disposition, String) {
    filtered_to(snapshot, group, block, &["b@else.example"])
}

fn filtered_to(
    snapshot: &Snapshot,
    group: Option<&str>,
    block: &str,
    recipients: &[&str],
) -> (Disposition, String) {
    let mut header = Header::parse(Bytes::from(block.to_owned()));
    let envelope = Envelope {
        reverse_path: ReversePath::Mailbox(Address::from_text("a@contoso.example")),
        recipients: recipients.iter().map(|recipient| to(recipient)).collect(),
        body: Body::default(),
        smtputf8: false,
        ret: None,
        envid: None,
    };
    let verdict = snapshot.filters.evaluate(&mut Examined {
        envelope: &envelope,
        header: &mut header,
        size: 1_000,
        mid: Mid(1),
        client: [192, 0, 2, 1].into(),
        client_name: &ClientName::NoName,
        listener: "MailFlow",
        group,
        policy: "RELAYED",
        hostname: "mx.contoso.example",
        date: Date::from_millis(0),
    });
    let rendered = header.render().concat();
    (verdict.disposition, String::from_utf8(rendered).expect("text"))
}

fn to(address: &str) -> Recipient {
    Recipient { address: Address::from_text(address), notify: Notify::default(), original: None }
}

#[test]
fn only_the_secret_opens_the_relay_and_nobody_learns_it() {
    let hostile = "it's.*\"a\\secret'''[x]+$^{2}|%#";
    for secret in ["a-long-enough-secret", hostile, "'''\\n[tls]'", "mysecretkey", "\\\\\\\\"] {
        let mut options = options();
        options.secret = secret.into();
        options.secret_header = "X-Proof".into();
        let snapshot = adopt(&options);
        let relayed = |value: &str| {
            let block = format!("Subject: x\r\nX-Proof: {value}\r\n");
            filtered(&snapshot, Some("RELAY_O365"), &block)
        };
        assert_eq!(relayed(secret), (Disposition::Deliver, "Subject: x\r\n".into()), "{secret}");
        for wrong in ["", "x", &format!("{secret}x"), &format!("x{secret}"), &secret[1..]] {
            let (disposition, _) = relayed(wrong);
            let Disposition::Reject { filter, reply } = disposition else { panic!("{wrong}") };
            assert_eq!((&*filter, reply.code), ("office365_outbound", 550), "{wrong}");
        }
        let missing = filtered(&snapshot, Some("RELAY_O365"), "Subject: x\r\n").0;
        assert!(matches!(missing, Disposition::Reject { .. }), "{missing:?}");
        for group in [None, Some("BLACKLIST"), Some("MY_RELAY_O365")] {
            let untouched = filtered(&snapshot, group, "Subject: x\r\n");
            assert_eq!(untouched, (Disposition::Deliver, "Subject: x\r\n".into()));
        }
    }
}

#[test]
fn other_tenants_may_write_to_us_through_the_one_listener() {
    let mut options = options();
    options.domains.push("Sub.Contoso.example".into());
    options.domains.push("fabri-kam.example".into());
    let snapshot = adopt(&options);
    let is_taken = |recipients: &[&str]| {
        let block = "Subject: x\r\nX-OUTBOUND-AUTH: a guess\r\n";
        let (verdict, _) = filtered_to(&snapshot, Some("RELAY_O365"), block, recipients);
        verdict == Disposition::Deliver
    };
    let ours = ["a@contoso.example", "B@SUB.contoso.EXAMPLE", "c@Fabri-Kam.example"];
    assert!(is_taken(&ours) && ours.iter().all(|recipient| is_taken(&[recipient])));
    for stranger in [
        "a@else.example",
        "a@example",
        "a@xcontoso.example",
        "a@contoso.example.else",
        "a@contoso-example",
        "a@other.contoso.example",
        "a@kam.example",
        "contoso.example",
        "@contoso.exampl",
        "\"a@contoso.example\"@else.example",
        "a@[192.0.2.1]",
        "postmaster",
    ] {
        assert!(!is_taken(&[stranger]), "{stranger}");
        assert!(!is_taken(&[ours[0], stranger, ours[1]]), "{stranger}");
    }
}

#[test]
fn a_hundred_domains_are_no_trouble() {
    let mut options = options();
    options.domains = (0..100).map(|it| format!("subsidiary-{it}.contoso.example")).collect();
    let snapshot = adopt(&options);
    let verdict = |recipient: &str| filtered_to(&snapshot, Some("RELAY_O365"), "", &[recipient]).0;
    assert_eq!(verdict("a@subsidiary-77.contoso.example"), Disposition::Deliver);
    assert_ne!(verdict("a@subsidiary-100.contoso.example"), Disposition::Deliver);
}

//! Delivery status notifications, as Python's own parser reads them.

use serde_json::Value;

use crate::{
    conversation::message,
    directory::Directory,
    gateway::{Gateway, Setting, route},
    patience::{seconds, until},
    postfix::SmtpSink,
    process::{free_port, python},
    sink::Sink,
};

#[test]
fn a_refused_recipient_gives_the_sender_one_report() {
    let directory = Directory::new();
    let refuser = SmtpSink::start(&directory, &["-f", "rcpt"]);
    let sink = Sink::keeping(&directory, &[]);
    let tables = format!("{}{}", route("remote.example", refuser.port), route("ALL", sink.port));
    let gateway = Setting::relay(&directory, &tables).start();
    send(&gateway, "a@sender.example", "b@remote.example");
    let report = the_report(&sink);
    assert_eq!(report["type"], "multipart/report", "{report:#}");
    assert_eq!(report["report_type"], "delivery-status", "{report:#}");
    assert_eq!(report["parts"][1], "message/delivery-status", "{report:#}");
    assert_eq!(report["to"], "a@sender.example", "{report:#}");
    assert_eq!(report["auto_submitted"], "auto-replied", "{report:#}");
    assert_eq!(report["reporting_mta"], "dns; gateway.example", "{report:#}");
    assert_eq!(report["final_recipient"], "rfc822; b@remote.example", "{report:#}");
    assert_eq!(report["action"], "failed", "{report:#}");
    assert!(text(&report["status"]).starts_with("5."), "{report:#}");
    assert!(text(&report["diagnostic"]).starts_with("smtp; 500"), "{report:#}");
    assert_eq!(report["original_subject"], "e2e-1", "{report:#}");
    assert_eq!(report["defects"], 0, "{report:#}");
    gateway.wait_for_line(&["Bounced: DCID", "to RID 0 - 5."]);
    gateway.wait_for_line(&["MID", "was generated for bounce of MID"]);
    gateway.wait_until_empty(seconds(10));
    assert_eq!(sink.kept().len(), 1, "one report and no second");
    gateway.stop();
}

#[test]
fn a_report_has_no_sender_and_a_message_without_sender_no_report() {
    let directory = Directory::new();
    let refuser = SmtpSink::start(&directory, &["-f", "rcpt"]);
    let other = Directory::new();
    let taker = SmtpSink::start(&other, &[]);
    let tables = format!("{}{}", route("remote.example", refuser.port), route("ALL", taker.port));
    let gateway = Setting::relay(&directory, &tables).start();
    send(&gateway, "", "b@remote.example");
    gateway.wait_for_line(&["Double bounce: MID"]);
    gateway.wait_until_empty(seconds(10));
    assert!(taker.transactions().is_empty());
    send(&gateway, "a@sender.example", "b@remote.example");
    until(seconds(20), "the report arrives", || {
        let transactions = taker.transactions();
        let one = transactions.first()?;
        assert!(one.contains("X-Mail-Args: <>"), "{one}");
        assert!(one.contains("X-Rcpt-Args: <a@sender.example>"), "{one}");
        Some(())
    });
    // The report to a sender who cannot be reached is not reported to anybody.
    send(&gateway, "b@remote.example", "c@remote.example");
    until(seconds(20), "a second double bounce", || {
        (gateway.mail_logs().matches("Double bounce").count() == 2).then_some(())
    });
    gateway.wait_until_empty(seconds(10));
    assert_eq!(taker.transactions().len(), 1);
    gateway.stop();
}

#[test]
fn what_is_too_old_is_reported_as_expired() {
    let directory = Directory::new();
    let sink = Sink::keeping(&directory, &[]);
    let profile = "[bounce_profile]\ninitial_retry = \"1s\"\nmax_retry = \"1s\"\n\
                   max_time_in_queue = \"3s\"\n";
    let tables =
        format!("{}{}{profile}", route("remote.example", free_port()), route("ALL", sink.port));
    let gateway = Setting::relay(&directory, &tables).start();
    let start = std::time::Instant::now();
    send(&gateway, "a@sender.example", "b@remote.example");
    let report = the_report(&sink);
    assert!(start.elapsed() >= seconds(2), "{:?}", start.elapsed());
    assert!(["4.4.7", "5.4.7"].contains(&text(&report["status"])), "{report:#}");
    assert_eq!(report["action"], "failed", "{report:#}");
    gateway.wait_for_line(&["Connection Error: DCID 0 domain: remote.example"]);
    gateway.wait_until_empty(seconds(10));
    assert_eq!(gateway.status()["counters"]["expired_hard_bounces"], 1);
    gateway.stop();
}

fn send(gateway: &Gateway<'_>, from: &str, to: &str) {
    let reply = gateway.client().transact(from, to, &message("e2e-1", "", "lost"));
    assert!(reply.starts_with("250 "), "{reply}");
}

/// What Python's parser finds in the only message of a sink.
fn the_report(sink: &Sink) -> Value {
    let path = until(seconds(30), "a report arrives", || sink.kept().pop());
    let said = python(READ_REPORT, &[path.to_str().expect("our paths are ASCII")]);
    serde_json::from_str(&said).expect("it prints JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

const READ_REPORT: &str = r#"
import email, email.policy, json, sys
m = email.message_from_binary_file(open(sys.argv[1], "rb"), policy=email.policy.SMTP)
parts = list(m.iter_parts())
per_message, per_recipient = parts[1].get_payload()[:2]
inner = parts[2].get_payload()
inner = inner[0] if isinstance(inner, list) else email.message_from_string(inner)
print(json.dumps({
    "type": m.get_content_type(),
    "report_type": m.get_param("report-type"),
    "parts": [p.get_content_type() for p in parts],
    "to": m["To"].addresses[0].addr_spec,
    "auto_submitted": m["Auto-Submitted"],
    "reporting_mta": per_message["Reporting-MTA"],
    "final_recipient": per_recipient["Final-Recipient"],
    "action": per_recipient["Action"],
    "status": per_recipient["Status"],
    "diagnostic": per_recipient["Diagnostic-Code"],
    "original_subject": inner["Subject"],
    "defects": sum(len(p.defects) for p in m.walk()),
}))
"#;

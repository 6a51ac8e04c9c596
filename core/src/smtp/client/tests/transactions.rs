//! What is said in a transaction, and what each recipient gets out of it.

use std::{format, string::String, vec};

use super::*;

#[test]
fn commands_go_out_in_one_write_when_the_server_pipelines() {
    let mut client = Client::new(settings(TlsNeed::None), Time::ZERO);
    client.receive(b"220 mx\r\n");
    assert!(matches!(client.step(Time::ZERO), Step::Receive));
    assert_eq!(mem::take(&mut client.output), b"EHLO gw.contoso.example\r\n");
    client.receive(b"250-mx\r\n250 PIPELINING\r\n");
    assert!(matches!(client.step(Time::ZERO), Step::Ready));
    client.deliver(delivery(TWO), Time::ZERO);
    let group = "MAIL FROM:<s@example.com>\r\nRCPT TO:<a@x.example>\r\n\
                 RCPT TO:<b@x.example>\r\nDATA\r\n";
    assert_eq!(client.output, group.as_bytes());
}

#[test]
fn a_message_is_delivered_with_and_without_pipelining() {
    let expected = [
        "EHLO gw.contoso.example",
        MAIL,
        "RCPT TO:<a@x.example>",
        "RCPT TO:<b@x.example>",
        "DATA",
        "A: b",
        "",
        "..d",
        ".",
        MAIL,
        "RCPT TO:<c@x.example>",
        "DATA",
        "A: b",
        "",
        "..d",
        ".",
        "QUIT",
    ];
    for offers in ["PIPELINING", ""] {
        let list = [delivery(TWO), delivery(&["c@x.example"])];
        let run = always(offers, &[], TlsNeed::Preferred, &list);
        assert_eq!(run.heard, expected);
        assert!(run.failures.is_empty());
        assert_eq!(delivered(&run.outcomes[0]), [0, 1]);
        assert_eq!(&*run.outcomes[0].response, "2.0.0 ok: queued");
        assert!(run.outcomes.iter().all(|o| o.reusable && !o.ambiguous && o.failed.is_empty()));
    }
}

#[test]
fn each_recipient_has_its_own_result() {
    let script: Script =
        &[("RCPT TO:<a", "550-5.1.1 no such\n550 5.1.1 user"), ("RCPT TO:<c", "451 greylisted")];
    for offers in ["PIPELINING", ""] {
        let list = [delivery(&["a@x.example", "b@x.example", "c@x.example"])];
        let run = always(offers, script, TlsNeed::None, &list);
        let outcome = &run.outcomes[0];
        assert_eq!(delivered(outcome), [1]);
        assert_eq!(statuses(outcome), [(0, "5.1.1".into()), (2, "4.3.0".into())]);
        let reply = outcome.failed[0].1.reply.as_ref().expect("the server said so");
        assert_eq!((reply.code, &*reply.text), (550, "no such\nuser"));
        assert!(outcome.reusable && !run.heard.contains(&"RSET".to_string()));
    }
}

#[test]
fn data_accepted_for_nobody_is_ended_at_once_and_counts_for_nothing() {
    let script: Script = &[("RCPT", "550 no"), ("RCPT", "550 no")];
    let list = [delivery(TWO), delivery(&["c@x.example"])];
    let run = always("PIPELINING", script, TlsNeed::None, &list);
    assert_eq!(run.heard[4..7], ["DATA", ".", "RSET"]);
    assert_eq!(delivered(&run.outcomes[0]), []);
    assert_eq!(statuses(&run.outcomes[0]), [(0, "5.1.0".into()), (1, "5.1.0".into())]);
    assert_eq!(run.outcomes[0].failed.len(), 1, "one reply, one failure");
    assert_eq!(delivered(&run.outcomes[1]), [0]);
}

#[test]
fn no_data_without_a_recipient_and_the_next_transaction_starts_clean() {
    let script: Script = &[("RCPT", "450 later"), ("RCPT", "550 no")];
    let list = [delivery(TWO), delivery(&["c@x.example"])];
    let run = always("", script, TlsNeed::None, &list);
    assert_eq!(run.heard[2..6], ["RCPT TO:<a@x.example>", "RCPT TO:<b@x.example>", "RSET", MAIL]);
    assert!(run.outcomes[0].reusable);
    assert_eq!(delivered(&run.outcomes[1]), [0]);
}

#[test]
fn a_refused_sender_fails_everyone_and_a_refused_data_everyone_accepted() {
    for (offers, script, expected) in [
        (
            "PIPELINING",
            &[("MAIL", "552 big"), ("RCPT", "503 x"), ("DATA", "503 x")] as Script,
            "5.3.4",
        ),
        ("PIPELINING", &[("MAIL", "450 4.7.1 slow")], "4.7.1"),
        ("", &[("MAIL", "501 what")], "5.1.7"),
        ("", &[("DATA", "554 5.7.0 no")], "5.7.0"),
        ("PIPELINING", &[("DATA", "451 4.3.0 no")], "4.3.0"),
        ("PIPELINING", &[(".", "550-5.7.1 spam\n550 5.7.1 no")], "5.7.1"),
        ("", &[(".", "452 full")], "4.3.1"),
    ] {
        let run = always(offers, script, TlsNeed::None, &[delivery(TWO), delivery(TWO)]);
        let all = [(0, expected.to_string()), (1, expected.to_string())];
        assert_eq!(statuses(&run.outcomes[0]), all, "{script:?}");
        assert!(run.outcomes[0].reusable && !run.outcomes[0].ambiguous);
        assert_eq!(delivered(&run.outcomes[1]), [0, 1], "{script:?} {:?}", run.heard);
    }
}

#[test]
fn parameters_are_sent_where_they_are_offered() {
    let mut with_parameters = delivery(TWO);
    let envelope = Arc::make_mut(&mut with_parameters.envelope);
    envelope.body = Body::EightBitMime;
    envelope.ret = Some(Ret::Headers);
    envelope.envid = Some("QQ+2B1".into());
    envelope.recipients[0].notify = Notify::SUCCESS.and(Notify::FAILURE);
    envelope.recipients[0].original = Some("rfc822;a@old.example".into());
    envelope.recipients[1].notify = Notify::NEVER;
    envelope.recipients[1].original = Some("rfc822;x NOTIFY=NEVER".into());
    let offers = "DSN\nSIZE 100\n8BITMIME\nSMTPUTF8";
    let list = [with_parameters];
    assert_eq!(
        always(offers, &[], TlsNeed::None, &list).heard[1..4],
        [
            "MAIL FROM:<s@example.com> SIZE=11 BODY=8BITMIME RET=HDRS ENVID=QQ+2B1",
            "RCPT TO:<a@x.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a@old.example",
            "RCPT TO:<b@x.example> NOTIFY=NEVER",
        ]
    );
    let plain = [MAIL, "RCPT TO:<a@x.example>", "RCPT TO:<b@x.example>"];
    assert_eq!(always("", &[], TlsNeed::None, &list).heard[1..4], plain);
}

#[test]
fn what_the_server_cannot_take_is_refused_without_a_word_to_it() {
    let big = Delivery { size: 101, ..delivery(TWO) };
    let utf8 = Delivery { smtputf8: true, ..delivery(TWO) };
    for (message, status) in [(big, "5.3.4"), (utf8.clone(), "5.6.7")] {
        let list = [message, delivery(TWO)];
        let run = always("SIZE 100", &[], TlsNeed::None, &list);
        let all = [(0, status.to_string()), (1, status.to_string())];
        assert_eq!(statuses(&run.outcomes[0]), all);
        assert!(run.outcomes[0].reusable);
        assert_eq!(run.heard[1], "MAIL FROM:<s@example.com> SIZE=11");
        assert_eq!(delivered(&run.outcomes[1]), [0, 1]);
    }
    let run = always("SMTPUTF8", &[], TlsNeed::None, &[utf8]);
    assert_eq!(run.heard[1], "MAIL FROM:<s@example.com> SMTPUTF8");
}

#[test]
fn one_internationalized_recipient_does_not_hold_up_the_others() {
    let list = [delivery(&["a@x.example", "jos\u{e9}@x.example"])];
    let run = always("PIPELINING", &[], TlsNeed::None, &list);
    assert_eq!(delivered(&run.outcomes[0]), [0]);
    assert_eq!(statuses(&run.outcomes[0]), [(1, "5.6.7".into())]);
    let run = always("PIPELINING\nSMTPUTF8", &[], TlsNeed::None, &list);
    assert_eq!(run.heard[1], "MAIL FROM:<s@example.com> SMTPUTF8");
    assert_eq!(delivered(&run.outcomes[0]), [0, 1]);
}

#[test]
fn no_address_ends_its_command() {
    let list = [delivery(&["a@x.example>\r\nRSET", "b@x.example"])];
    let run = always("PIPELINING", &[], TlsNeed::None, &list);
    assert_eq!(statuses(&run.outcomes[0]), [(0, "5.1.3".into())]);
    assert_eq!(delivered(&run.outcomes[0]), [1]);
    assert!(!run.heard.contains(&"RSET".to_string()));
}

#[test]
fn too_many_recipients_are_tried_again() {
    let script: Script = &[("RCPT TO:<b", "552 too many")];
    let run = always("", script, TlsNeed::None, &[delivery(TWO)]);
    assert_eq!(statuses(&run.outcomes[0]), [(1, "4.5.3".into())]);
    let script: Script = &[("RCPT TO:<b", "552 5.2.2 full")];
    let run = always("", script, TlsNeed::None, &[delivery(TWO)]);
    assert_eq!(statuses(&run.outcomes[0]), [(1, "5.2.2".into())]);
    let script: Script = &[("RCPT TO:<a", "552 full")];
    let run = always("", script, TlsNeed::None, &[delivery(TWO)]);
    assert_eq!(statuses(&run.outcomes[0]), [(0, "5.2.2".into())]);
}

#[test]
fn groups_are_bounded() {
    let names: Vec<String> = (0..250).map(|n| format!("r{n}@x.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut client = Client::new(settings(TlsNeed::None), Time::ZERO);
    client.receive(b"220 mx\r\n");
    client.step(Time::ZERO);
    client.receive(b"250-mx\r\n250 PIPELINING\r\n");
    client.step(Time::ZERO);
    client.output.clear();
    client.deliver(delivery(&names), Time::ZERO);
    // All replies together are longer than one may be.
    let long_reply = format!("250 {}\r\n", "x".repeat(900));
    let mut groups = vec![];
    while !client.output.is_empty() {
        let group = mem::take(&mut client.output).iter().filter(|c| **c == b'\n').count();
        groups.push(group);
        let data = usize::from(groups.len() == 3);
        client.receive(long_reply.repeat(group - data).as_bytes());
        client.step(Time::ZERO);
    }
    assert_eq!(groups, [100, 100, 52]);
    client.receive(b"354 go\r\n");
    assert!(matches!(client.step(Time::ZERO), Step::Content));
}

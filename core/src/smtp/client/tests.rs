//! The client against scripted servers: what is said, what comes of it, and that neither depends
//! on how the server's bytes are split.

mod transactions;

extern crate std;

use std::{
    collections::VecDeque,
    format,
    string::{String, ToString as _},
    vec,
};

use super::*;
use crate::{
    address::{Address, ReversePath},
    envelope::{Body, Notify, Recipient, Ret},
    id::Rid,
};

/// The beginning of a command and the reply to it, used once. `""` is the greeting.
type Script = &'static [(&'static str, &'static str)];

/// A server that says yes to everything its script says nothing about.
struct Server {
    script: Vec<(&'static str, &'static str)>,
    offers: &'static str,
    heard: Vec<String>,
    input: String,
    is_content: bool,
}

/// What a run of a client against a server came to.
#[derive(Debug, Default, PartialEq)]
struct Run {
    /// Commands and lines of content.
    heard: Vec<String>,
    outcomes: Vec<Outcome>,
    failures: Vec<Failure>,
    handshakes: u32,
    /// Octets the server sent.
    octets: usize,
}

/// Where the server's octets are divided, or end.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Nowhere,
    At(usize),
    Everywhere,
    End(usize),
}

impl Server {
    fn receive(&mut self, bytes: &[u8]) -> String {
        let mut replies = String::new();
        self.input.push_str(core::str::from_utf8(bytes).expect("tests send text"));
        while let Some(end) = self.input.find("\r\n") {
            let line: String = self.input.drain(..end + 2).collect();
            let line = line.trim_end().to_string();
            replies += &self.reply(&line);
            self.heard.push(line);
        }
        replies
    }

    fn reply(&mut self, line: &str) -> String {
        if self.is_content && line != "." {
            return String::new();
        }
        let is_data = line == "DATA";
        let scripted = self.script.iter().position(|(said, _)| match *said {
            "" | "." => line == *said,
            said => line.starts_with(said),
        });
        let reply = match (scripted, line) {
            (Some(at), _) => format!("{}\r\n", self.script.remove(at).1.replace('\n', "\r\n")),
            (None, "") => "220 mx ESMTP\r\n".into(),
            (None, "STARTTLS") => "220 go on\r\n".into(),
            (None, "DATA") => "354 go on\r\n".into(),
            (None, ".") => "250 2.0.0 ok: queued\r\n".into(),
            (None, _) if line.starts_with("EHLO") => {
                let offers = self.offers.lines().map(|offer| format!("250-{offer}\r\n"));
                format!("250-mx hello\r\n{}250 HELP\r\n", offers.collect::<String>())
            }
            (None, _) => "250 2.1.0 ok\r\n".into(),
        };
        self.is_content = is_data && reply.starts_with('3');
        reply
    }
}

fn settings(tls: TlsNeed) -> Arc<Settings> {
    let (helo, remote) = ("gw.contoso.example".into(), "mx".into());
    Arc::new(Settings { helo, tls, timeouts: Timeouts::default(), remote })
}

fn delivery(recipients: &[&str]) -> Delivery {
    let mut envelope = Envelope::new(ReversePath::Mailbox(Address::from_text("s@example.com")));
    envelope.recipients =
        recipients.iter().map(|text| Recipient::new(Address::from_text(text))).collect();
    let rids = (0..recipients.len()).map(|n| Rid(u32::try_from(n).expect("few"))).collect();
    let envelope = Arc::new(envelope);
    Delivery { envelope, rids, size: 11, eight_bit: false, smtputf8: false }
}

/// Delivers all of `list` over one connection, then quits.
fn run(offers: &'static str, script: Script, tls: TlsNeed, list: &[Delivery], cut: Cut) -> Run {
    let mut client = Client::new(settings(tls), Time::ZERO);
    let (input, heard, script) = (String::new(), vec![], script.to_vec());
    let mut server = Server { script, offers, heard, input, is_content: false };
    let (mut run, mut list, mut is_closed) = (Run::default(), list.iter(), false);
    let mut pieces = VecDeque::new();
    divide(&server.reply(""), cut, &mut run.octets, &mut pieces);
    while !is_closed {
        if let Some(piece) = pieces.pop_front() {
            client.receive(&piece);
        }
        let is_read = pieces.is_empty();
        if is_read && matches!(cut, Cut::End(end) if end == run.octets) {
            client.ended();
        }
        match client.step(Time::ZERO) {
            Step::Outcome(outcome) => run.outcomes.push(outcome),
            Step::Failed(failure) => run.failures.push(failure),
            Step::Close => is_closed = true,
            _ if !is_read => {}
            Step::Receive if client.output.is_empty() => client.ended(),
            Step::Receive => {}
            Step::StartTls => {
                run.handshakes += 1;
                client.tls_established();
            }
            Step::Ready => match list.next() {
                Some(delivery) => client.deliver(delivery.clone(), Time::ZERO),
                None => client.quit(Time::ZERO),
            },
            Step::Content => {
                client.content(b"A: b\r\n\r\n.d\r", false);
                client.content(b"\n", true);
            }
        }
        let replies = server.receive(&mem::take(&mut client.output));
        divide(&replies, cut, &mut run.octets, &mut pieces);
        assert!(server.heard.len() < 1_000, "the conversation does not end");
    }
    assert!(matches!(client.step(Time::ZERO), Step::Close), "closed is closed");
    run.heard = server.heard;
    run
}

fn divide(replies: &str, cut: Cut, octets: &mut usize, pieces: &mut VecDeque<Vec<u8>>) {
    let mut replies = replies.as_bytes();
    if let Cut::End(end) = cut {
        replies = &replies[..replies.len().min(end - *octets)];
    }
    let start = mem::replace(octets, *octets + replies.len());
    let mut push = |piece: &[u8]| {
        if !piece.is_empty() {
            pieces.push_back(piece.to_vec());
        }
    };
    match cut {
        Cut::At(at) if start < at && at < *octets => {
            push(&replies[..at - start]);
            push(&replies[at - start..]);
        }
        Cut::Everywhere => replies.chunks(1).for_each(push),
        Cut::At(_) | Cut::Nowhere | Cut::End(_) => push(replies),
    }
}

/// Runs it with the server's octets split at every place, and gives back what always happened.
fn always(offers: &'static str, script: Script, tls: TlsNeed, list: &[Delivery]) -> Run {
    let whole = run(offers, script, tls, list, Cut::Nowhere);
    assert_eq!(run(offers, script, tls, list, Cut::Everywhere), whole);
    for at in 1..whole.octets {
        assert_eq!(run(offers, script, tls, list, Cut::At(at)), whole, "split at {at}");
    }
    whole
}

fn statuses(outcome: &Outcome) -> Vec<(u32, String)> {
    let each = |(rids, failure): &(Rids, Failure)| {
        let status = failure.status.to_string();
        rids.iter().map(|rid| (rid.0, status.clone())).collect::<Vec<_>>()
    };
    outcome.failed.iter().flat_map(each).collect()
}

fn delivered(outcome: &Outcome) -> Vec<u32> {
    outcome.delivered.iter().map(|rid| rid.0).collect()
}

const MAIL: &str = "MAIL FROM:<s@example.com>";
const TWO: &[&str] = &["a@x.example", "b@x.example"];

#[test]
fn a_server_that_closes_with_421_fails_what_is_not_refused_yet() {
    for (script, refused) in [
        (&[("RCPT TO:<a", "550 no"), ("RCPT TO:<b", "421 4.3.2 bye")] as Script, "5.1.0"),
        (&[("MAIL", "421 4.3.2 bye")], "4.3.2"),
        (&[("DATA", "421 4.3.2 bye")], "4.3.2"),
        (&[(".", "421 4.3.2 bye")], "4.3.2"),
    ] {
        for offers in ["PIPELINING", ""] {
            let run = always(offers, script, TlsNeed::None, &[delivery(TWO)]);
            let all = [(0, refused.to_string()), (1, "4.3.2".to_string())];
            assert_eq!(statuses(&run.outcomes[0]), all, "{script:?}");
            assert!(!run.outcomes[0].reusable && !run.outcomes[0].ambiguous);
            assert!(!run.heard.contains(&"QUIT".to_string()));
        }
    }
}

#[test]
fn a_server_that_greets_with_a_refusal_gets_a_quit_and_no_mail() {
    for (script, status, last) in [
        (&[("", "554 5.7.1 not you")] as Script, "5.7.1", "QUIT"),
        (&[("", "450 busy")], "4.3.0", "QUIT"),
        (&[("EHLO", "550 not you")], "5.3.0", "QUIT"),
        (&[("EHLO", "502 what"), ("HELO", "502 what")], "5.5.0", "QUIT"),
        (&[("EHLO", "421 no")], "4.3.2", "EHLO gw.contoso.example"),
        (&[("EHLO", "354 what")], "4.5.0", "EHLO gw.contoso.example"),
        (&[("EHLO", "250-a\n251 b")], "4.5.0", "EHLO gw.contoso.example"),
        (&[("EHLO", "HTTP/1.1 400")], "4.5.0", "EHLO gw.contoso.example"),
    ] {
        let run = always("", script, TlsNeed::None, &[delivery(TWO)]);
        assert_eq!(run.failures.len(), 1, "{script:?}");
        assert_eq!(run.failures[0].status.to_string(), status);
        assert_eq!(&*run.failures[0].remote, "mx");
        assert_eq!(run.heard.last().expect("we said something"), last, "{script:?}");
        assert!(run.outcomes.is_empty());
    }
}

#[test]
fn a_server_that_knows_no_ehlo_is_greeted_with_helo_and_offered_nothing() {
    let script: Script = &[("EHLO", "500-what\n500 ?"), ("HELO", "250 SIZE 1")];
    let run = always("", script, TlsNeed::Preferred, &[delivery(TWO)]);
    assert_eq!(run.heard[..3], ["EHLO gw.contoso.example", "HELO gw.contoso.example", MAIL]);
    assert_eq!(delivered(&run.outcomes[0]), [0, 1]);
}

#[test]
fn tls_is_used_when_offered_and_the_offers_are_asked_for_again() {
    let run = always("STARTTLS\nSIZE", &[], TlsNeed::Preferred, &[delivery(TWO)]);
    let hello = "EHLO gw.contoso.example";
    assert_eq!(run.heard[..3], [hello, "STARTTLS", hello]);
    assert_eq!((run.handshakes, delivered(&run.outcomes[0])), (1, vec![0, 1]));
    let script: Script = &[("STARTTLS", "220 go")];
    assert_eq!(always("STARTTLS", script, TlsNeed::None, &[delivery(TWO)]).handshakes, 0);
}

#[test]
fn an_offer_made_in_clear_does_not_outlive_the_handshake() {
    let mut client = Client::new(settings(TlsNeed::Required), Time::ZERO);
    for words in ["220 mx\r\n", "250-mx\r\n250-DSN\r\n250 STARTTLS\r\n", "220 go\r\n"] {
        client.receive(words.as_bytes());
        client.step(Time::ZERO);
    }
    assert!(client.extensions().dsn);
    client.receive(b"250-mx\r\n250-DSN\r\n");
    client.tls_established();
    assert_eq!(*client.extensions(), Extensions::default());
    client.receive(b"250 mx\r\n");
    assert!(matches!(client.step(Time::ZERO), Step::Ready));
    assert_eq!(*client.extensions(), Extensions::default());
}

#[test]
fn refused_tls_is_put_up_with_only_where_it_is_preferred() {
    let script: Script = &[("STARTTLS", "454 4.7.0 no key")];
    let run = always("STARTTLS", script, TlsNeed::Preferred, &[delivery(TWO)]);
    assert_eq!((run.handshakes, delivered(&run.outcomes[0])), (0, vec![0, 1]));
    for (offers, script) in
        [("STARTTLS", script), ("", &[]), ("STARTTLS", &[("STARTTLS", "502 5.5.1 no")])]
    {
        let run = always(offers, script, TlsNeed::Required, &[delivery(TWO)]);
        assert_eq!(run.failures[0].status.to_string(), "4.7.4");
        assert_eq!(run.heard.last().expect("we said something"), "QUIT");
    }
}

#[test]
fn a_failed_handshake_and_words_before_it_end_the_conversation() {
    for (answer, reason) in [
        ("220 go\r\n", "no shared cipher"),
        ("220 go\r\n250 injected\r\n", "the server spoke between 220 and TLS"),
    ] {
        let mut client = Client::new(settings(TlsNeed::Preferred), Time::ZERO);
        client.receive(b"220 mx\r\n");
        client.step(Time::ZERO);
        client.receive(b"250-mx\r\n250 STARTTLS\r\n");
        client.step(Time::ZERO);
        client.receive(answer.as_bytes());
        let mut step = client.step(Time::ZERO);
        if matches!(step, Step::StartTls) {
            client.tls_failed("no shared cipher");
            step = client.step(Time::ZERO);
        }
        let Step::Failed(failure) = step else { panic!("{step:?}") };
        assert_eq!((failure.status.to_string(), &*failure.diagnostic), ("4.7.5".into(), reason));
        assert!(matches!(client.step(Time::ZERO), Step::Close));
    }
}

#[test]
fn a_lost_connection_loses_no_recipient_and_is_ambiguous_only_after_the_dot() {
    for offers in ["PIPELINING\nSTARTTLS", ""] {
        let list = [delivery(TWO)];
        let whole = run(offers, &[], TlsNeed::Preferred, &list, Cut::Nowhere);
        let mut seen = (0, 0, 0);
        for end in 0..whole.octets {
            let run = run(offers, &[], TlsNeed::Preferred, &list, Cut::End(end));
            let is_after_dot = run.heard.iter().any(|line| line == ".");
            let Some(outcome) = run.outcomes.first() else {
                assert_eq!(run.failures[0].status.to_string(), "4.4.2", "{end}");
                assert!(run.failures[0].diagnostic.starts_with("connection closed while"));
                seen.0 += 1;
                continue;
            };
            if outcome.delivered.is_empty() {
                assert_eq!(statuses(outcome), [(0, "4.4.2".into()), (1, "4.4.2".into())]);
                assert_eq!(outcome.ambiguous, is_after_dot, "{end}");
                assert!(!outcome.reusable && run.failures.is_empty());
                seen.1 += 1;
                seen.2 += usize::from(outcome.ambiguous);
            } else {
                assert!(is_after_dot && run.failures.is_empty());
            }
        }
        assert!(seen.0 > 20 && seen.1 > 40 && seen.2 == "250 2.0.0 ok: queued\r".len());
    }
}

#[test]
fn time_runs_out_by_the_rfc_wherever_the_server_falls_silent() {
    let minutes = |count: u64| Time::ZERO + Duration::from_secs(count * 60);
    let words: [(&str, Time, &str); 7] = [
        ("220 mx\r\n", minutes(5), "waiting for the greeting"),
        ("250 mx\r\n", minutes(5), "waiting for the reply to EHLO"),
        ("250 ok\r\n", minutes(5), "waiting for the reply to MAIL"),
        ("250 ok\r\n", minutes(5), "waiting for the reply to RCPT"),
        ("354 go\r\n", minutes(2), "waiting for the reply to DATA"),
        ("", minutes(3), "sending the content"),
        ("250 ok\r\n", minutes(10), "waiting for the reply to the end of the content"),
    ];
    for silent in 0..words.len() {
        let mut client = Client::new(settings(TlsNeed::None), Time::ZERO);
        for (word, ..) in &words[..silent] {
            client.receive(word.as_bytes());
            match client.step(Time::ZERO) {
                Step::Ready => client.deliver(delivery(&["a@x.example"]), Time::ZERO),
                Step::Content if word.is_empty() => client.content(b"x", true),
                _ => {}
            }
            client.step(Time::ZERO);
        }
        let (_, deadline, text) = words[silent];
        assert_eq!(client.deadline(), deadline, "{text}");
        client.timed_out(Time::from_nanos(deadline.nanos() - 1));
        let is_early = matches!(client.step(Time::ZERO), Step::Receive | Step::Content);
        assert!(is_early, "nothing happens before the deadline");
        client.timed_out(deadline);
        let failure = match client.step(Time::ZERO) {
            Step::Failed(failure) => failure,
            Step::Outcome(outcome) => {
                assert_eq!(outcome.ambiguous, silent == words.len() - 1);
                outcome.failed[0].1.clone()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(&*failure.diagnostic, format!("timed out while {text}"));
        assert!(matches!(client.step(Time::ZERO), Step::Close));
    }
}

#[test]
fn a_dripping_reply_does_not_move_the_deadline() {
    let mut client = Client::new(settings(TlsNeed::None), Time::ZERO);
    let deadline = client.deadline();
    for second in 0..20 {
        client.receive(b"220-x\r\n");
        client.step(Time::ZERO + Duration::from_secs(second));
    }
    assert_eq!(client.deadline(), deadline);
}

#[test]
fn replies_nobody_asked_for_end_the_transaction_without_a_dot() {
    for (script, status) in [
        (&[("DATA", "354 go\n250 queued")] as Script, "4.5.0"),
        (&[("DATA", "354 go\n451 4.3.1 full")], "4.5.0"),
        (&[("MAIL", "250 ok\n250 ok\n250 ok")], "4.5.0"),
        (&[("RCPT", "354 what")], "4.5.0"),
        (&[("DATA", "250 what")], "4.5.0"),
    ] {
        for offers in ["PIPELINING", ""] {
            let run = run(offers, script, TlsNeed::None, &[delivery(TWO)], Cut::Nowhere);
            let outcome = &run.outcomes[0];
            assert_eq!(statuses(outcome).len(), 2, "{script:?} {offers}");
            assert!(statuses(outcome).iter().all(|(_, text)| text == status), "{outcome:?}");
            assert!(!outcome.reusable && !outcome.ambiguous && outcome.delivered.is_empty());
            assert!(!run.heard.contains(&".".to_string()));
        }
    }
}

#[test]
fn a_server_that_gives_up_during_the_content_is_believed() {
    for pieces in [vec!["452 4.3.1 full\r\n"], vec!["45", "2 4.3.1 full\r\n"]] {
        let mut client = in_content();
        let mut pieces = pieces.into_iter();
        client.content(b"x", false);
        client.receive(pieces.next().expect("a first piece").as_bytes());
        let mut step = client.step(Time::ZERO);
        if let Step::Content = step {
            client.content(b"y", true);
            client.receive(pieces.next().expect("a second piece").as_bytes());
            step = client.step(Time::ZERO);
        }
        let Step::Outcome(outcome) = step else { panic!("{step:?}") };
        assert_eq!(statuses(&outcome), [(0, "4.3.1".into())]);
        assert!(!outcome.reusable && !outcome.ambiguous);
        assert!(!client.output.ends_with(b"\r\n.\r\n"));
    }
}

#[test]
fn half_a_success_before_the_dot_is_no_success() {
    let mut client = in_content();
    client.receive(b"25");
    assert!(matches!(client.step(Time::ZERO), Step::Content));
    client.content(b"x", true);
    client.receive(b"0 ok\r\n");
    let Step::Outcome(outcome) = client.step(Time::ZERO) else { panic!("an outcome is due") };
    assert!(outcome.delivered.is_empty() && !outcome.ambiguous);
}

fn in_content() -> Client {
    let mut client = Client::new(settings(TlsNeed::None), Time::ZERO);
    for word in ["220 mx\r\n", "250 mx\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
        client.receive(word.as_bytes());
        if let Step::Ready = client.step(Time::ZERO) {
            client.deliver(delivery(&["a@x.example"]), Time::ZERO);
        }
    }
    assert!(matches!(client.step(Time::ZERO), Step::Content));
    client
}

#[test]
fn an_endless_reply_is_given_up_and_of_a_long_one_little_is_kept() {
    let mut client = Client::new(settings(TlsNeed::None), Time::ZERO);
    let mut octets = 0;
    while let Step::Receive = client.step(Time::ZERO) {
        client.receive(b"220-and so on, and so on\r\n");
        octets += 26;
        assert!(octets < 100_000, "an endless reply is not endured");
    }
    let mut client = Client::new(settings(TlsNeed::None), Time::ZERO);
    let line = format!("554-{}\r\n", "x".repeat(1_000));
    client.receive(format!("{}554 end\r\n", line.repeat(20)).as_bytes());
    let Step::Failed(failure) = client.step(Time::ZERO) else { panic!("554 is a refusal") };
    let kept = failure.reply.expect("the server said so").text.len();
    assert!((8_000..=8_192).contains(&kept), "{kept}");
}

#[test]
fn a_server_idle_between_transactions_may_close_without_a_failure() {
    for goodbye in [b"421 idle\r\n".as_slice(), b""] {
        let mut client = in_content();
        client.content(b"x", true);
        client.receive(b"250 ok\r\n");
        assert!(matches!(client.step(Time::ZERO), Step::Outcome(_)));
        assert!(matches!(client.step(Time::ZERO), Step::Ready));
        assert_eq!(client.deadline(), Time::NEVER);
        client.receive(goodbye);
        client.ended();
        assert!(matches!(client.step(Time::ZERO), Step::Close));
    }
}

#[test]
fn whatever_a_server_answers_each_recipient_gets_one_result_however_it_is_split() {
    const REPLIES: [&str; 10] = [
        "250 ok",
        "250 2.1.5 ok",
        "354 go",
        "450 4.2.0 later",
        "451-a\n451 b",
        "550 5.1.1 no",
        "552 full",
        "421 bye",
        "220 x",
        "250-1\n250 2",
    ];
    const COMMANDS: [&str; 9] =
        ["", "EHLO", "HELO", "STARTTLS", "RSET", "MAIL", "RCPT", "DATA", "."];
    let mut seed = 7_u64;
    let mut random = |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits") % bound
    };
    let list = [delivery(TWO), delivery(&["c@x.example", "d@x.example", "e@x.example"])];
    let mut count = 0;
    for _ in 0..200 {
        let script: Vec<_> = (0..random(4))
            .map(|_| (COMMANDS[random(COMMANDS.len())], REPLIES[random(REPLIES.len())]))
            .collect();
        let script: Script = script.leak();
        let offers = ["", "PIPELINING", "STARTTLS", "PIPELINING\nSTARTTLS"][random(4)];
        let run = always(offers, script, TlsNeed::Preferred, &list);
        for (outcome, delivery) in run.outcomes.iter().zip(&list) {
            let mut rids = outcome.delivered.to_vec();
            rids.extend(outcome.failed.iter().flat_map(|(rids, _)| rids.iter().copied()));
            rids.sort_unstable();
            assert_eq!(rids, delivery.rids.to_vec(), "{script:?}");
        }
        count += run.outcomes.len();
    }
    assert!(count > 150, "most scripts get to a transaction: {count}");
}

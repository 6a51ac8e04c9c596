//! Delivering within the limits of a destination, again when it says later, and not for ever.

use crate::{
    conversation::message,
    directory::Directory,
    gateway::{Gateway, Setting, limits, route},
    patience::seconds,
    sink::{Sink, missing, source},
};

#[test]
fn twenty_thousand_messages_keep_to_the_limits_of_their_destination() {
    let directory = Directory::new();
    let sink = Sink::start(&directory, &[]);
    let tables = format!("{}{}", route("ALL", sink.port), limits(10, 20));
    let gateway = Setting::relay(&directory, &tables).start();
    let accepted = directory.join("accepted");
    let path = accepted.to_str().expect("our paths are ASCII");
    let report = source(
        gateway.port,
        &["--messages", "20000", "--connections", "50", "--size", "10KiB", "--accepted", path],
    );
    assert_eq!(report["accepted"], 20_000, "{report:#}");
    sink.wait_for(20_000, seconds(120));
    assert_eq!(missing(&accepted, &sink.received()).len(), 0);
    gateway.wait_until_empty(seconds(10));
    let status = gateway.status();
    assert_eq!(status["counters"]["messages_received"], 20_000, "{status:#}");
    assert_eq!(status["counters"]["delivered_recipients"], 20_000, "{status:#}");
    assert_both_shards_had_connections(&gateway);
    gateway.stop();
    let report = sink.finish();
    assert_eq!(report["duplicates"], 0, "{report:#}");
    let at_once = report["connections_simultaneous_max"].as_u64().expect("a number");
    let on_one = report["messages_of_connection_max"].as_u64().expect("a number");
    assert!(at_once <= 10, "{report:#}");
    assert!(on_one <= 20, "{report:#}");
    println!("at most {at_once} connections at once, {on_one} messages on one");
}

/// Both shards took mail, so the limits were kept by them together.
fn assert_both_shards_had_connections(gateway: &Gateway<'_>) {
    let status = gateway.status();
    let shards = status["shards"].as_array().expect("a list").len();
    assert_eq!(shards, 2, "{status:#}");
    for shard in 0..2 {
        let segments = status["shards"][shard]["segments"].as_u64().expect("a number");
        assert!(segments > 0, "{status:#}");
    }
}

#[test]
fn a_greylisting_next_hop_gets_the_message_again_after_the_first_retry() {
    let directory = Directory::new();
    let sink = Sink::keeping(&directory, &["--greylist"]);
    let profile = "[bounce_profile]\ninitial_retry = \"2s\"\nmax_retry = \"4s\"\n";
    let tables = format!("{}{profile}", route("ALL", sink.port));
    let gateway = Setting::relay(&directory, &tables).start();
    let start = std::time::Instant::now();
    let content = message("e2e-1", "", "try again");
    let reply = gateway.client().transact("a@sender.example", "b@remote.example", &content);
    assert!(reply.starts_with("250 "), "{reply}");
    sink.content("e2e-1");
    let took = start.elapsed();
    assert!((seconds(1)..seconds(6)).contains(&took), "{took:?}");
    gateway.wait_for_line(&["Delayed: DCID", "to RID 0", "450"]);
    gateway.wait_for_line(&["to RID [0] pending till"]);
    gateway.wait_until_empty(seconds(10));
    let status = gateway.status();
    assert_eq!(status["counters"]["soft_bounced_events"], 1);
    gateway.stop();
    assert_eq!(sink.finish()["duplicates"], 0);
}

#[test]
fn random_temporary_failures_lose_nothing_and_double_nothing() {
    let directory = Directory::new();
    let sink = Sink::start(&directory, &["--temporary-failure", "0.3"]);
    let profile = "[bounce_profile]\ninitial_retry = \"1s\"\nmax_retry = \"1s\"\n";
    let tables = format!("{}{}{profile}", route("ALL", sink.port), limits(10, 20));
    let gateway = Setting::relay(&directory, &tables).start();
    let report = source(gateway.port, &["--messages", "500", "--connections", "10"]);
    assert_eq!(report["accepted"], 500, "{report:#}");
    sink.wait_for(500, seconds(60));
    gateway.wait_until_empty(seconds(10));
    gateway.stop();
    let report = sink.finish();
    assert_eq!(report["duplicates"], 0, "{report:#}");
    assert!(report["temporary_failures"].as_u64() > Some(0), "{report:#}");
}

#[test]
fn one_life_has_the_log_lines_of_the_field_in_their_order() {
    let directory = Directory::new();
    let sink = Sink::keeping(&directory, &[]);
    // What two shards say within a few milliseconds may come in any order; one keeps its own.
    let setting = Setting { workers: 1, ..Setting::relay(&directory, &route("ALL", sink.port)) };
    let gateway = setting.start();
    let mut client = gateway.client();
    let content = message("e2e-1", "", "hello");
    let reply = client.transact("a@sender.example", "b@remote.example", &content);
    assert!(reply.starts_with("250 "), "{reply}");
    client.ask("QUIT", "221 ");
    sink.content("e2e-1");
    gateway.wait_for_line(&["Message finished MID"]);
    gateway.wait_for_line(&["ICID", "close"]);
    let log = gateway.mail_logs();
    for order in [&ACCEPTANCE[..], &DELIVERY[..]] {
        let mut lines = log.lines();
        for shape in order {
            assert!(lines.any(|line| has_shape(line, shape)), "no {shape:?} in its place:\n{log}");
        }
    }
    gateway.stop();
}

/// Shapes of lines: each `#` stands for a number, `*` for anything.
const ACCEPTANCE: [&str; 11] = [
    "New SMTP ICID # interface Relay (127.0.0.1) address 127.0.0.1 reverse dns host * verified *",
    "ICID # RELAY SG RELAYLIST match 127.0.0.0/8 SBRS not enabled country not enabled",
    "Start MID # ICID #",
    "MID # ICID # From: <a@sender.example>",
    "MID # ICID # RID 0 To: <b@remote.example>",
    "MID # Message-ID '<e2e-1@sender.example>'",
    "MID # Subject \"e2e-1\"",
    "MID # ready # bytes from <a@sender.example>",
    "MID # matched all recipients for per-recipient policy DEFAULT in the outbound table",
    "MID # queued for delivery",
    "ICID # close",
];

const DELIVERY: [&str; 6] = [
    "MID # queued for delivery",
    "New SMTP DCID # interface 127.0.0.1 address 127.0.0.1 port #",
    "Delivery start DCID # MID # to RID [0]",
    "Message done DCID # MID # to RID [0]",
    "MID # RID [0] Response '*'",
    "Message finished MID # done",
];

fn has_shape(line: &str, shape: &str) -> bool {
    let Some((_, said)) = line.split_once(" Info: ") else {
        return false;
    };
    fits(said.as_bytes(), shape.as_bytes())
}

fn fits(said: &[u8], shape: &[u8]) -> bool {
    match (said, shape) {
        ([], []) => true,
        (_, [b'*', rest @ ..]) => (0..=said.len()).any(|skip| fits(&said[skip..], rest)),
        ([digit, ..], [b'#', rest @ ..]) if digit.is_ascii_digit() => {
            let end = said.iter().position(|it| !it.is_ascii_digit()).unwrap_or(said.len());
            fits(&said[end..], rest)
        }
        ([one, said @ ..], [other, shape @ ..]) => one == other && fits(said, shape),
        _ => false,
    }
}

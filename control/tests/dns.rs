//! The resolver against a name server of our own: everything a zone can say or fail to say.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use ringpost_control::{
    bridge::Ask,
    dns::{Names, Settings},
};
use ringpost_core::lookup::{Answer, ClientName, Mx, Question};

/// What the server says to one name and type.
#[derive(Clone)]
enum Say {
    /// Records: type and content.
    Records(Vec<(u16, Vec<u8>)>),
    /// The name exists, without such a record.
    NoData,
    /// A response code, with no record.
    Code(u8),
    /// Truncated over UDP; these records over TCP.
    Truncated(Vec<(u16, Vec<u8>)>),
    /// Nothing at all.
    Silence,
}

/// What each name and type gets; what is not here does not exist. Counts the questions.
type Zone = HashMap<(&'static str, u16), Say>;

struct Server {
    address: SocketAddr,
    questions: Arc<AtomicU32>,
}

/// One port for both protocols; the first that is free for one may be taken for the other.
fn same_port() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("bound")) {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both protocols")
}

impl Server {
    /// Answers for the life of the test process.
    fn start(zone: Zone) -> Self {
        let (udp, tcp) = same_port();
        let address = udp.local_addr().expect("bound");
        let (zone, questions) = (Arc::new(zone), Arc::new(AtomicU32::new(0)));
        let (zone_of_tcp, counter) = (Arc::clone(&zone), Arc::clone(&questions));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((size, peer)) = udp.recv_from(&mut buffer) {
                counter.fetch_add(1, Relaxed);
                if let Some(response) = respond(&zone, &buffer[..size], false) {
                    udp.send_to(&response, peer).expect("loopback");
                }
            }
        });
        thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                let mut size = [0; 2];
                while stream.read_exact(&mut size).is_ok() {
                    let mut query = vec![0; u16::from_be_bytes(size).into()];
                    stream.read_exact(&mut query).expect("a whole query");
                    let response = respond(&zone_of_tcp, &query, true).expect("said over TCP");
                    let size = u16::try_from(response.len()).expect("small");
                    stream.write_all(&size.to_be_bytes()).expect("loopback");
                    stream.write_all(&response).expect("loopback");
                }
            }
        });
        Self { address, questions }
    }

    fn settings(&self) -> Settings {
        Settings {
            servers: vec![self.address],
            timeout: Duration::from_millis(300),
            retries: 0,
            total_timeout: Duration::from_secs(2),
            cache_size: 100,
        }
    }

    fn ask(&self, question: Question) -> Answer {
        ask_all(&self.settings(), vec![question]).remove(0)
    }
}

/// Answers in the order of the questions, which are all asked at once.
fn ask_all(settings: &Settings, questions: Vec<Question>) -> Vec<Answer> {
    ask_in_rounds(settings, vec![questions])
}

/// The questions of a round are asked at once, each round when the one before is answered.
fn ask_in_rounds(settings: &Settings, rounds: Vec<Vec<Question>>) -> Vec<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let names = Names::new(settings).expect("a server");
        let (sender, receiver) = async_channel::bounded::<Ask>(1_000);
        let task = tokio::spawn(names.run(receiver));
        let mut answers = Vec::new();
        for questions in rounds {
            let mut slots = Vec::new();
            for question in questions {
                let (slot, answer) = async_channel::bounded(1);
                let sent = sender.send((question, slot)).await;
                sent.expect("the resolver runs");
                slots.push(answer);
            }
            for slot in slots {
                answers.push(slot.recv().await.expect("each question is answered"));
            }
        }
        drop(sender);
        task.await.expect("it ends when nobody can ask");
        answers
    })
}

/// A response (RFC 1035 4.1) to the one question of a query.
fn respond(zone: &Zone, query: &[u8], is_tcp: bool) -> Option<Vec<u8>> {
    let mut name = String::new();
    let mut at = 12;
    while query[at] != 0 {
        let label = &query[at + 1..at + 1 + usize::from(query[at])];
        name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        name.push('.');
        at += 1 + label.len();
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let question = &query[12..at + 5];
    let (mut flags, mut code, mut records) = (0x80, 0, Vec::new());
    match zone.get(&(name.trim_end_matches('.'), kind)) {
        Some(Say::Records(said)) => records = said.clone(),
        Some(Say::Truncated(said)) if is_tcp => records = said.clone(),
        Some(Say::Truncated(_)) => flags |= 0x02,
        Some(Say::NoData) => {}
        Some(Say::Code(said)) => code = *said,
        Some(Say::Silence) => return None,
        None => code = NXDOMAIN,
    }
    let negative = records.is_empty() && flags & 0x02 == 0 && (code == 0 || code == NXDOMAIN);
    let answers = u8::try_from(records.len()).expect("few");
    let mut out = vec![query[0], query[1], flags | (query[2] & 0x01), 0x80 | code, 0, 1, 0];
    out.extend([answers, 0, u8::from(negative), 0, 0]);
    out.extend(question);
    for (kind, content) in records {
        record(&mut out, &[0xc0, 12], kind, &content);
    }
    if negative {
        // The zone's SOA, so that "no" may be remembered for its minimum of 60 s (RFC 2308).
        let soa = [&[0, 0][..], &[0; 16], &60_u32.to_be_bytes()].concat();
        record(&mut out, &[0], 6, &soa);
    }
    Some(out)
}

fn record(out: &mut Vec<u8>, owner: &[u8], kind: u16, content: &[u8]) {
    out.extend(owner);
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    out.extend(300_u32.to_be_bytes());
    out.extend(u16::try_from(content.len()).expect("small").to_be_bytes());
    out.extend(content);
}

fn name(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).expect("a label"));
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

fn pointers(names: &[&str]) -> Say {
    Say::Records(names.iter().map(|target| (PTR, name(target))).collect())
}

fn addresses(of: &[&str]) -> Say {
    let address = |text: &&str| {
        let address: Ipv4Addr = text.parse().expect("valid");
        (A, address.octets().to_vec())
    };
    Say::Records(of.iter().map(address).collect())
}

fn exchangers(of: &[(u16, &str)]) -> Vec<(u16, Vec<u8>)> {
    let exchanger = |(preference, host): &(u16, &str)| {
        (MX, [&preference.to_be_bytes()[..], &name(host)].concat())
    };
    of.iter().map(exchanger).collect()
}

fn client(address: &str) -> Question {
    Question::Client(address.parse().expect("valid"))
}

fn mx(domain: &str) -> Question {
    Question::Mx(domain.into())
}

#[test]
fn a_client_is_verified_when_any_of_its_names_leads_back() {
    let server = Server::start(Zone::from([
        (("1.2.0.192.in-addr.arpa", PTR), pointers(&["other.example.", "MAIL.Example."])),
        (("other.example", A), addresses(&["192.0.2.99"])),
        (("mail.example", A), addresses(&["192.0.2.8", "192.0.2.1"])),
    ]));
    let verified = Answer::Client(ClientName::Verified("mail.example".into()));
    assert_eq!(server.ask(client("192.0.2.1")), verified);
    assert_eq!(server.ask(client("::ffff:192.0.2.1")), verified);
}

#[test]
fn loopback_clients_are_looked_up_like_any_other() {
    let server = Server::start(Zone::from([
        (("9.0.0.127.in-addr.arpa", PTR), pointers(&["mail-x.outbound.example"])),
        (("mail-x.outbound.example", A), addresses(&["127.0.0.9"])),
        (("localhost", A), addresses(&["127.0.0.77"])),
    ]));
    let verified = ClientName::Verified("mail-x.outbound.example".into());
    assert_eq!(server.ask(client("127.0.0.9")), Answer::Client(verified));
    assert_eq!(server.ask(client("127.0.0.10")), Answer::Client(ClientName::NoName));
    let localhost = Answer::Addresses(vec!["127.0.0.77".parse().expect("valid")]);
    assert_eq!(server.ask(Question::Addresses("localhost".into())), localhost);
}

#[test]
fn a_name_that_does_not_lead_back_is_told_from_one_that_may() {
    let server = Server::start(Zone::from([
        (("1.2.0.192.in-addr.arpa", PTR), pointers(&["forged.example", "gone.example"])),
        (("forged.example", A), addresses(&["198.51.100.1"])),
        (("2.2.0.192.in-addr.arpa", PTR), pointers(&["broken.example", "forged.example"])),
        (("broken.example", A), Say::Code(SERVFAIL)),
        (("3.2.0.192.in-addr.arpa", PTR), Say::NoData),
        (("4.2.0.192.in-addr.arpa", PTR), Say::Code(SERVFAIL)),
        (("5.2.0.192.in-addr.arpa", PTR), Say::Silence),
    ]));
    for (address, name) in [
        ("192.0.2.1", ClientName::Mismatched("forged.example".into())),
        ("192.0.2.2", ClientName::Unavailable),
        ("192.0.2.3", ClientName::NoName),
        ("192.0.2.4", ClientName::Unavailable),
        ("192.0.2.5", ClientName::Unavailable),
        ("192.0.2.6", ClientName::NoName),
        ("2001:db8::1", ClientName::NoName),
    ] {
        assert_eq!(server.ask(client(address)), Answer::Client(name), "{address}");
    }
}

#[test]
fn no_more_than_five_names_of_a_client_are_tried() {
    let names = ["a.example", "b.example", "c.example", "d.example", "e.example", "ok.example"];
    let server = Server::start(Zone::from([
        (("1.2.0.192.in-addr.arpa", PTR), pointers(&names)),
        (("ok.example", A), addresses(&["192.0.2.1"])),
    ]));
    let first = ClientName::Mismatched("a.example".into());
    assert_eq!(server.ask(client("192.0.2.1")), Answer::Client(first));
    assert_eq!(server.questions.load(Relaxed), 6);
}

#[test]
fn every_outcome_of_an_mx_lookup_is_told_apart() {
    let two = exchangers(&[(20, "B.example."), (10, "a.example")]);
    let server = Server::start(Zone::from([
        (("two.example", MX), Say::Records(two.clone())),
        (("null.example", MX), Say::Records(exchangers(&[(0, ".")]))),
        (("nodata.example", MX), Say::NoData),
        (("servfail.example", MX), Say::Code(SERVFAIL)),
        (("refused.example", MX), Say::Code(REFUSED)),
        (("silent.example", MX), Say::Silence),
        (("large.example", MX), Say::Truncated(two)),
        (("alias.example", MX), Say::Records(vec![(CNAME, name("two.example"))])),
        (("loop.example", MX), Say::Records(vec![(CNAME, name("loop.example"))])),
    ]));
    let found = |of: &[(u16, &str)]| {
        let mx =
            |(preference, host): &(u16, &str)| Mx { preference: *preference, host: (*host).into() };
        Answer::Mx(of.iter().map(mx).collect())
    };
    let two = found(&[(20, "b.example"), (10, "a.example")]);
    for (domain, answer) in [
        ("two.example", two.clone()),
        ("null.example", found(&[(0, "")])),
        ("nodata.example", Answer::NoRecords),
        ("absent.example", Answer::NoSuchName),
        ("large.example", two.clone()),
        ("alias.example", two),
        ("a..b", Answer::NoSuchName),
    ] {
        assert_eq!(server.ask(mx(domain)), answer, "{domain}");
    }
    for (domain, why) in [
        ("servfail.example", "Server Failure"),
        ("refused.example", "Query Refused"),
        ("silent.example", "timed out"),
        ("loop.example", "too many aliases"),
    ] {
        assert_eq!(server.ask(mx(domain)), Answer::Unavailable(why.into()), "{domain}");
    }
}

#[test]
fn addresses_of_both_versions_are_joined_and_a_failure_is_not_taken_for_a_no() {
    let v6: std::net::Ipv6Addr = "2001:db8::1".parse().expect("valid");
    let server = Server::start(Zone::from([
        (("both.example", A), addresses(&["192.0.2.2", "192.0.2.1"])),
        (("both.example", AAAA), Say::Records(vec![(AAAA, v6.octets().to_vec())])),
        (("half.example", A), addresses(&["192.0.2.1"])),
        (("half.example", AAAA), Say::Code(SERVFAIL)),
        (("unsure.example", A), Say::NoData),
        (("unsure.example", AAAA), Say::Code(SERVFAIL)),
        (("none.example", A), Say::NoData),
        (("none.example", AAAA), Say::NoData),
    ]));
    let found = |of: &[&str]| {
        Answer::Addresses(of.iter().map(|text| text.parse().expect("valid")).collect())
    };
    for (host, answer) in [
        ("both.example", found(&["192.0.2.2", "192.0.2.1", "2001:db8::1"])),
        ("half.example", found(&["192.0.2.1"])),
        ("unsure.example", Answer::Unavailable("Server Failure".into())),
        ("none.example", Answer::NoRecords),
        ("absent.example", Answer::NoSuchName),
    ] {
        assert_eq!(server.ask(Question::Addresses(host.into())), answer, "{host}");
    }
}

#[test]
fn the_same_question_is_asked_once_and_its_answer_is_remembered() {
    let server = Server::start(Zone::from([
        (("mx.example", MX), Say::Records(exchangers(&[(10, "a.example")]))),
        (("servfail.example", MX), Say::Code(SERVFAIL)),
    ]));
    let asked = |domain: &str, rounds: usize| {
        let before = server.questions.load(Relaxed);
        let rounds = vec![vec![mx(domain); 100]; rounds];
        let answers = ask_in_rounds(&server.settings(), rounds);
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        server.questions.load(Relaxed) - before
    };
    assert_eq!(asked("mx.example", 5), 1);
    assert_eq!(asked("absent.example", 5), 1);
    assert_eq!(asked("servfail.example", 5), 5, "a failure is shared, not remembered");
}

#[test]
fn a_lookup_ends_in_time_whatever_the_server_does() {
    let names = ["a.example", "b.example", "c.example", "d.example", "e.example"];
    let mut zone = Zone::from([(("1.2.0.192.in-addr.arpa", PTR), pointers(&names))]);
    zone.extend(names.map(|name| ((name, A), Say::Silence)));
    let server = Server::start(zone);
    let settings = Settings { total_timeout: Duration::from_millis(700), ..server.settings() };
    let start = Instant::now();
    let answers = ask_all(&settings, vec![client("192.0.2.1")]);
    assert_eq!(answers, [Answer::Client(ClientName::Unavailable)]);
    let took = start.elapsed();
    assert!((600..1_400).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn more_questions_than_lookups_at_once_are_all_answered() {
    let server = Server::start(Zone::new());
    let questions: Vec<_> = (0..900).map(|number| mx(&format!("d{number}.example"))).collect();
    let settings = Settings { timeout: Duration::from_secs(10), ..server.settings() };
    let settings = Settings { total_timeout: Duration::from_secs(30), ..settings };
    let answers = ask_all(&settings, questions);
    assert!(answers.iter().all(|answer| *answer == Answer::NoSuchName), "{answers:?}");
}

const A: u16 = 1;
const CNAME: u16 = 5;
const PTR: u16 = 12;
const MX: u16 = 15;
const AAAA: u16 = 28;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
const REFUSED: u8 = 5;

//! Message filters that do not match: what an organisation with many rules pays for every message.
//!
//! A thousand filters with three literals each, over a header of thirty fields.

use std::{fmt::Write as _, hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use ringpost_core::{
    address::{Address, ReversePath},
    envelope::{Envelope, Recipient},
    id::Mid,
    lookup::ClientName,
    message::header::Header,
    time::Date,
};
use ringpost_policy::filter::{Disposition, Examined, Filters, Names, compile};

fn filters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filter");
    group.measurement_time(Duration::from_secs(3)).sample_size(50);
    let script = script();
    let names = Names { listeners: &[] };
    group.bench_function("compile 1000 filters", |bencher| {
        bencher.iter(|| compile(black_box(&script), &names).expect("it is valid"));
    });
    let filters = compile(&script, &names).expect("it is valid");
    let block = header_block();
    group.bench_function("evaluate 1000 filters, none matches", |bencher| {
        bencher.iter(|| evaluate(&filters, &block));
    });
    let none = compile("", &names).expect("it is valid");
    group.bench_function("index 30 fields, no filter", |bencher| {
        bencher.iter(|| evaluate(&none, &block));
    });
    group.finish();
}

fn evaluate(filters: &Filters, block: &[u8]) {
    let mut header = Header::parse(bytes::Bytes::copy_from_slice(black_box(block)));
    let mut envelope =
        Envelope::new(ReversePath::Mailbox(Address::from_text("ida.keller@sales.example")));
    envelope.recipients.push(Recipient::new(Address::from_text("lee@contoso.example")));
    let verdict = filters.evaluate(&mut Examined {
        envelope: &envelope,
        header: &mut header,
        size: 40_000,
        mid: Mid(1),
        client: [192, 0, 2, 1].into(),
        client_name: &ClientName::NoName,
        listener: "Inbound",
        group: Some("UNKNOWNLIST"),
        policy: "ACCEPTED",
        hostname: "mx.contoso.example",
        date: Date::from_millis(0),
    });
    assert_eq!((verdict.disposition, verdict.matched), (Disposition::Deliver, 0));
}

fn script() -> String {
    let mut script = String::new();
    for number in 0..1_000 {
        let field = match number % 5 {
            0 => "mail-from".to_owned(),
            1 => "rcpt-to".to_owned(),
            2 => format!("header('X-Field-{}')", number / 5 % 8),
            3 => "header('From')".to_owned(),
            _ => "subject".to_owned(),
        };
        let case = if number % 3 == 0 { "(?i)" } else { "" };
        writeln!(
            script,
            "filter_{number}: if (subject == '{case}special offer {number}') \
             or ({field} == '{case}account-{number}-suspended') \
             or ({field} == '^prize[0-9]+winner{number}$') {{ drop(); }}"
        )
        .expect("a String takes everything");
    }
    script
}

fn header_block() -> Vec<u8> {
    let mut block = String::from(
        "From: Ida Keller <ida.keller@sales.example>\r\nTo: lee@contoso.example\r\n\
         Subject: Minutes of the quarterly planning meeting, special items first\r\n\
         Date: Mon, 24 Nov 2025 14:22:57 +0000\r\nMessage-ID: <20251124.7@sales.example>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n",
    );
    for number in 0..3 {
        write!(
            block,
            "Received: from relay{number}.sales.example (192.0.2.{number})\r\n\
             \tby relay.example with ESMTPS id {number}; Mon, 24 Nov 2025 14:22:57 +0000\r\n"
        )
        .expect("a String takes everything");
    }
    for number in 0..20 {
        write!(block, "X-Field-{number}: an account of nothing in particular, {number}\r\n")
            .expect("a String takes everything");
    }
    block.into_bytes()
}

criterion_group!(benches, filters);
criterion_main!(benches);

//! Classifying a client by a Host Access Table of a million rows.
//!
//! It happens once for each connection, before the greeting, and must not be felt.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use criterion::{Criterion, criterion_group, criterion_main};
use ringpost_core::lookup::ClientName;
use ringpost_policy::{
    hat::{Entry, Group, Hat},
    mail_flow::{Behavior, MailFlowPolicy},
};

criterion_group!(benches, classify);
criterion_main!(benches);

fn classify(criterion: &mut Criterion) {
    let hat = table();
    let clients: Vec<_> = (0..65_536).map(client).collect();
    let mut bench = criterion.benchmark_group("hat/1000000 rows");
    let mut next = 0;
    bench.bench_function("classify", |bencher| {
        bencher.iter(|| {
            let (address, name) = &clients[next % clients.len()];
            next += 1;
            black_box(hat.classify(black_box(*address), black_box(name)).policy);
        });
    });
    bench.finish();
}

/// A hundred groups of ten thousand rows: addresses, prefixes, ranges, hosts and domains, mixed.
fn table() -> Hat {
    let group = |number: u32| Group {
        name: Some(format!("GROUP_{number}").into()),
        entries: (0..10_000).map(|row| entry(number * 10_000 + row)).collect(),
        policy: Arc::new(MailFlowPolicy::new("P".into(), Behavior::Accept)),
    };
    let all = Arc::new(MailFlowPolicy::new("ALL".into(), Behavior::Reject));
    Hat::new((0..100).map(group).collect(), all)
}

fn entry(row: u32) -> Entry {
    let [a, b, c, d] = scatter(row).to_be_bytes();
    let text = match row % 8 {
        0..3 => format!("{a}.{b}.{c}.{d}"),
        3 => format!("{a}.{b}.{c}.0/24"),
        4 => format!("{a}.{b}.{c}.{}-{}", d / 2, 128 + d / 2),
        5 => format!("2001:db8:{a:x}{b:02x}:{c:x}{d:02x}::/64"),
        6 => format!("mail-{row}.domain{}.example", row % 50_000),
        _ => format!(".net{row}.example"),
    };
    Entry::parse(&text).expect("a valid row")
}

/// Half of the clients come from the neighbourhood of a row.
fn client(number: u32) -> (IpAddr, ClientName) {
    let row = scatter(number) % 1_000_000;
    let bits = scatter(if number.is_multiple_of(2) { row } else { number.wrapping_add(1 << 30) });
    let address = if number % 4 == 3 {
        Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(bits) << 64 | 1).into()
    } else {
        Ipv4Addr::from_bits(bits).into()
    };
    let name = match number % 3 {
        0 => ClientName::NoName,
        1 => ClientName::Verified(format!("out.mx.net{row}.example").into()),
        _ => ClientName::Verified(format!("mail-{row}.domain{}.example", row % 50_000).into()),
    };
    (address, name)
}

/// Odd multiplication is a bijection: each row has an address of its own.
const fn scatter(number: u32) -> u32 {
    number.wrapping_mul(0x9e37_79b1)
}

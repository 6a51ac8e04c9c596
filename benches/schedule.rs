//! One item through a schedule that knows ten thousand destinations: enqueue, take, settle.
//!
//! Every delivery of a shard passes here, so its cost must not grow with what else is waiting.

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use ringpost_core::{
    id::{Mid, Rid, Rids},
    time::{Date, Time},
};
use ringpost_delivery::{
    home::homes,
    schedule::{Item, Lease, Limits, Next, Schedule, Settlement, Share, Take},
};

criterion_group!(benches, pass, open, find_homes);
criterion_main!(benches);

/// Mail for a destination whose connection is up and idle, as in a steady stream.
fn pass(criterion: &mut Criterion) {
    let (domains, mut schedule, mut mid, now) = filled();
    let busy: Arc<str> = "busy.example".into();
    put(&mut schedule, &busy, &mut mid, now);
    let mut lease = opened(&mut schedule, now);
    carry(&mut schedule, &mut lease, now);
    criterion.bench_function("schedule/10000 destinations/reuse", |bencher| {
        bencher.iter(|| {
            assert!(matches!(schedule.take(&mut lease, now), Take::Wait(_)));
            put(&mut schedule, &busy, &mut mid, now);
            assert!(matches!(schedule.next(now), Some(Next::Resume(_))));
            carry(&mut schedule, &mut lease, now);
        });
    });
    black_box(domains);
}

/// Mail for one destination after another, each with a connection of its own.
fn open(criterion: &mut Criterion) {
    let (domains, mut schedule, mut mid, now) = filled();
    let mut domains = domains.iter().cycle();
    criterion.bench_function("schedule/10000 destinations/open and close", |bencher| {
        bencher.iter(|| {
            let domain = domains.next().expect("a cycle has no end");
            put(&mut schedule, domain, &mut mid, now);
            let mut lease = opened(&mut schedule, now);
            carry(&mut schedule, &mut lease, now);
            schedule.closed(lease, now);
        });
    });
}

fn find_homes(criterion: &mut Criterion) {
    criterion.bench_function("homes/16 shards", |bencher| {
        bencher.iter(|| homes(black_box("contoso.example"), 500, 16).pick(black_box(Mid(7))));
    });
}

/// Ten thousand destinations with ten deferred items each.
fn filled() -> (Vec<Arc<str>>, Schedule, u64, Time) {
    let mut schedule = Schedule::new(Limits::default());
    let domains: Vec<Arc<str>> =
        (0..DESTINATIONS).map(|number| format!("destination-{number}.example").into()).collect();
    let (now, mut mid) = (Time::from_nanos(1_000_000_000), 0);
    for round in 0..10 {
        for domain in &domains {
            mid += 1;
            let later = now + Duration::from_secs(3_600 + round);
            let item = Item { not_before: later, ..item(mid) };
            let result = schedule.enqueue(domain, SHARE, item, now);
            result.expect("the limits are above this");
        }
    }
    assert!(schedule.next(now).is_none());
    (domains, schedule, mid, now)
}

fn put(schedule: &mut Schedule, domain: &Arc<str>, mid: &mut u64, now: Time) {
    *mid += 1;
    let result = schedule.enqueue(domain, SHARE, item(*mid), now);
    result.expect("the limits are above this");
}

fn opened(schedule: &mut Schedule, now: Time) -> Lease {
    match schedule.next(now) {
        Some(Next::Open(lease)) => lease,
        other => panic!("{other:?} is not a connection to open"),
    }
}

fn carry(schedule: &mut Schedule, lease: &mut Lease, now: Time) {
    let Take::Item(item) = schedule.take(lease, now) else { panic!("an item is ready") };
    black_box(item);
    let settlement = Settlement { completed: true, again: None };
    schedule.settle(lease, settlement, now);
}

fn item(mid: u64) -> Item {
    Item {
        mid: Mid(mid),
        rids: Rids::from_slice(&[Rid(0)]),
        attempts: 0,
        first_queued: Date::from_millis(0),
        not_before: Time::ZERO,
        expires: Time::NEVER,
        size: 10_000,
    }
}

const DESTINATIONS: u64 = 10_000;
const SHARE: Share = Share { connections: 100, messages_per_connection: u32::MAX };

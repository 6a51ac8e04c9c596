//! Seeded worlds in which machines run against simulated disks, networks and clocks.
//!
//! `SEED=42 SEEDS=1 cargo test --test simulation` replays one world; a failure prints its seed.

#[path = "simulation/clients.rs"]
mod clients;
#[path = "simulation/delivery.rs"]
mod delivery;
#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/gateway/mod.rs"]
mod gateway;
#[path = "simulation/invariants.rs"]
mod invariants;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/peers.rs"]
mod peers;
#[path = "simulation/random.rs"]
mod random;
#[path = "simulation/spool.rs"]
mod spool;
#[path = "simulation/story.rs"]
mod story;
#[path = "simulation/tasks.rs"]
mod tasks;
#[path = "simulation/world.rs"]
mod world;

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use gateway::Defect;
use spool::{Acknowledge, Totals};

#[test]
fn what_was_acknowledged_survives_every_crash() {
    let seeds = seeds(10_000);
    let is_enough = seeds.end - seeds.start >= 1_000;
    let totals = spread(seeds, |seeds| {
        let mut totals = Totals::default();
        for seed in seeds {
            totals.add(&spool_holds(seed));
        }
        totals
    });
    let mut sum = Totals::default();
    totals.iter().for_each(|totals| sum.add(totals));
    println!("{sum:?}");
    if is_enough {
        sum.assert_nothing_was_left_out();
    }
}

#[test]
fn acknowledging_before_the_sync_is_found_out() {
    let caught = (0..200).find(|&seed| spool::run(seed, Acknowledge::WhenWritten).is_err());
    assert!(caught.is_some(), "the world would not notice a lost message");
}

#[test]
fn one_seed_is_one_story() {
    for seed in 0..20 {
        let [first, second] = [(); 2].map(|()| spool::run(seed, Acknowledge::WhenDurable));
        assert_eq!(first, second);
    }
}

#[test]
fn destinations_get_all_their_mail_and_no_more_connections_than_their_limit() {
    let mut seen = delivery::Seen::default();
    let seeds = seeds(300);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        seen.add(&delivery::run(seed));
    }
    println!("{seen:?}");
    if count >= 300 {
        seen.assert_everything_happened();
    }
}

#[test]
fn one_seed_is_one_story_of_deliveries() {
    for seed in 0..20 {
        assert_eq!(delivery::run(seed), delivery::run(seed));
    }
}

#[test]
fn the_gateway_loses_nothing() {
    let seeds = seeds(10_000);
    let is_enough = seeds.end - seeds.start >= 1_000;
    let totals = spread(seeds, |seeds| {
        let mut totals = invariants::Totals::default();
        seeds.for_each(|seed| totals.add(&gateway_holds(seed)));
        totals
    });
    let mut sum = invariants::Totals::default();
    totals.iter().for_each(|totals| sum.add(totals));
    println!("{sum:?}");
    if is_enough {
        sum.assert_nothing_was_left_out();
    }
}

#[test]
fn a_planted_lie_is_caught() {
    for (defect, expected) in [
        (Defect::AcknowledgesWhenWritten, "is lost"),
        (Defect::BelievesLostConnections, "was not accepted"),
        (Defect::GivesUpReports, "is lost"),
        (Defect::ForgetsOutcomesWhenFull, "came to an end"),
        (Defect::ReadsOldPlaces, "cannot be read"),
    ] {
        let is_caught = |&seed: &u64| {
            let violation = world::run(seed, defect).err();
            violation.is_some_and(|violation| violation.contains(expected))
        };
        let caught = (0..3_000).find(is_caught);
        println!("{defect:?}: {caught:?}");
        assert!(caught.is_some(), "the world does not notice {defect:?}");
    }
}

#[test]
fn one_seed_is_one_story_of_the_gateway() {
    for seed in 0..20 {
        assert_eq!(gateway_holds(seed), gateway_holds(seed));
    }
}

/// Worlds nobody has seen yet, as many as the time allows: `SECONDS_MAX`, from `SEED` on.
#[test]
fn new_seeds() {
    let time = Duration::from_secs(number("SECONDS_MAX").unwrap_or(1));
    let first = number("SEED").unwrap_or(1_000_000);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let start = Instant::now();
    let counts = spread(0..cores, |mine| {
        let mut count = 0;
        for seed in (first + mine.start..).step_by(cores as usize) {
            if start.elapsed() >= time {
                break;
            }
            gateway_holds(seed);
            spool_holds(seed);
            delivery::run(seed);
            count += 1;
        }
        count
    });
    let count: u64 = counts.iter().sum();
    println!("{count} new seeds of each world (spool, delivery, gateway) from {first} on");
    assert!(count > 0 || time.is_zero(), "there was time for a world");
}

fn gateway_holds(seed: u64) -> invariants::Totals {
    let run = catch_unwind(AssertUnwindSafe(|| world::run(seed, Defect::None)));
    let replay =
        format!("replay: SEED={seed} SEEDS=1 cargo test --test simulation the_gateway_loses");
    match run {
        Ok(run) => run.unwrap_or_else(|violation| panic!("{violation}; {replay}")),
        Err(_) => panic!("a machine or its driver panicked, see above; {replay}"),
    }
}

fn spool_holds(seed: u64) -> Totals {
    let run = spool::run(seed, Acknowledge::WhenDurable);
    run.unwrap_or_else(|violation| panic!("SEED={seed}: {violation}"))
}

/// Shares the seeds out among the cores.
fn spread<T: Send>(seeds: Range<u64>, run: impl Fn(Range<u64>) -> T + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let share = (seeds.end - seeds.start).div_ceil(cores).max(1);
    std::thread::scope(|scope| {
        let starts = (seeds.start..seeds.end).step_by(share as usize);
        let ranges = starts.map(|start| start..seeds.end.min(start + share));
        let threads: Vec<_> = ranges.map(|range| scope.spawn(|| run(range))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no violation")).collect()
    })
}

fn seeds(default: u64) -> Range<u64> {
    let start = number("SEED").unwrap_or(0);
    start..start + number("SEEDS").unwrap_or(default)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

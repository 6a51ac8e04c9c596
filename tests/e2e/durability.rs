//! What was answered 250 is delivered: through kills, restarts, full disks and orderly ends.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    conversation::message,
    directory::Directory,
    gateway::{Setting, limits, route},
    patience::{seconds, until},
    process::{Process, free_port, is_root, output, succeed},
    sink::{Sink, missing, source, source_command, tokens},
};

#[test]
fn fifty_kills_under_load_lose_nothing_that_was_accepted() {
    kill_under_load(&Torture { kills: 50, seed: 1, sink: &[] });
}

#[test]
fn kills_and_a_next_hop_that_breaks_off_lose_nothing() {
    kill_under_load(&Torture { kills: 10, seed: 2, sink: &["--drop-at-dot", "0.05"] });
}

#[test]
fn sigterm_finishes_what_is_under_way() {
    let directory = Directory::new();
    let sink = Sink::start(&directory, &["--reply-delay", "300"]);
    let tables = format!("{}{}", route("ALL", sink.port), limits(10, 20));
    let setting = Setting::relay(&directory, &tables);
    let gateway = setting.start();
    let accepted = directory.join("accepted");
    let path = accepted.to_str().expect("our paths are ASCII");
    let report =
        source(gateway.port, &["--messages", "100", "--connections", "10", "--accepted", path]);
    assert_eq!(report["accepted"], 100, "{report:#}");
    let mut idle = gateway.client();
    idle.ask("NOOP", "250 ");
    gateway.stop();
    idle.expect("421 ");
    // The sink writes its tokens down within 100 ms.
    sleep(Duration::from_millis(300));
    let before = sink.received();
    assert!(!before.is_empty() && before.len() < 100, "some were under way: {}", before.len());
    let gateway = setting.start();
    sink.wait_for(100, seconds(30));
    gateway.wait_until_empty(seconds(10));
    gateway.stop();
    assert_eq!(missing(&accepted, &sink.received()).len(), 0);
    let report = sink.finish();
    assert_eq!(report["duplicates"], 0, "{report:#}");
}

#[test]
fn a_second_gateway_on_the_same_directory_is_refused() {
    let directory = Directory::new();
    let setting = Setting::relay(&directory, &route("ALL", 1));
    let gateway = setting.start();
    let mut second = setting.spawn("second");
    let status = second.wait(seconds(20));
    assert_eq!(status.code(), Some(69), "{}", second.err());
    assert!(second.err().contains("another gateway is running on"), "{}", second.err());
    gateway.client();
    gateway.stop();
}

#[test]
fn a_full_disk_refuses_mail_and_loses_none() {
    let directory = Directory::new();
    let Some(disk) = SmallDisk::mount(&directory) else {
        println!("skipped: no loop device can be mounted here");
        return;
    };
    // Nothing leaves at first, so that the disk fills.
    let next_hop = free_port();
    let tables = format!("{SMALL_SPOOL}{}", route("ALL", next_hop));
    // With one shard there is no other that still has room in its last segment.
    let setting = Setting { workers: 1, ..Setting::relay(&directory, &tables) };
    let gateway = setting.start();
    let accepted = directory.join("accepted");
    let path = accepted.to_str().expect("our paths are ASCII");
    let load = ["--connections", "8", "--size", "200KiB", "--messages", "1000"];
    let report = source(gateway.port, &[&load[..], &["--accepted", path]].concat());
    let count = report["accepted"].as_u64().expect("a number");
    println!("{count} messages fit; refused: {}", report["refused"]);
    assert!((50..1000).contains(&count), "{report:#}");
    assert!(report["refused"]["452"].as_u64() > Some(0), "{report:#}");
    let content = message("e2e-1", "", &format!("{}\r\n", "x".repeat(70)).repeat(3000));
    let mut client = gateway.client();
    let reply = client.transact("a@sender.example", "b@remote.example", &content);
    assert!(reply.starts_with("452 4.3.1"), "{reply}");
    let sink = Sink::start_at(&directory, &format!("127.0.0.1:{next_hop}"), &[]);
    sink.wait_for(usize::try_from(count).expect("small"), seconds(60));
    assert_eq!(missing(&accepted, &sink.received()).len(), 0);
    gateway.wait_until_empty(seconds(30));
    until(seconds(20), "mail is taken again", || {
        let mut client = gateway.client();
        let reply = client.transact("a@sender.example", "b@remote.example", &content);
        reply.starts_with("250 ").then_some(())
    });
    gateway.wait_until_empty(seconds(30));
    gateway.stop();
    drop(disk);
}

struct Torture<'a> {
    kills: u32,
    seed: u64,
    sink: &'a [&'a str],
}

/// Kills and restarts the gateway, with another number of shards each time, while mail comes in.
fn kill_under_load(torture: &Torture<'_>) {
    let directory = Directory::new();
    let sink = Sink::start(&directory, torture.sink);
    let profile = "[bounce_profile]\ninitial_retry = \"1s\"\nmax_retry = \"1s\"\n";
    let tables = format!("{}{}{profile}", route("ALL", sink.port), limits(CONNECTIONS, 50));
    let mut setting = Setting::relay(&directory, &tables);
    let accepted = directory.join("accepted");
    let mut gateway = setting.start();
    let mut command = source_command(gateway.port);
    command.args(["--keep-going", "--connections", "20", "--rate", "1000", "--size", "10KiB"]);
    command.args(["--messages", "1000000", "--max-time", "400", "--accepted"]).arg(&accepted);
    let mut load = Process::start("source", &mut command, &directory);
    let mut chance = torture.seed;
    for kill in 0..torture.kills {
        let at_least = tokens(&accepted).len() + 10;
        until(seconds(30), "mail is accepted again", || {
            (tokens(&accepted).len() >= at_least).then_some(())
        });
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        sleep(Duration::from_millis((chance >> 33) % 500));
        gateway.kill();
        setting.workers = u16::try_from(kill % 3 + 1).expect("small");
        gateway = setting.start();
    }
    load.terminate();
    load.wait(seconds(60));
    until(seconds(90), "all that was accepted arrives", || {
        missing(&accepted, &sink.received()).is_empty().then_some(())
    });
    gateway.wait_until_empty(seconds(60));
    gateway.stop();
    let promised = tokens(&accepted).len();
    let report = sink.finish();
    let duplicates = report["duplicates"].as_u64().expect("a number");
    println!(
        "{} kills: {promised} accepted, {} arrived, {duplicates} twice",
        torture.kills, report["unique"]
    );
    // Twice comes only what the next hop had taken and the gateway had not yet written down: a
    // connection goes on with its next messages while the outcome of the last waits for the disk.
    assert!(duplicates <= u64::from(CONNECTIONS * UNWRITTEN_MAX * torture.kills), "{report:#}");
}

/// A file system of its own, mounted on the data directory.
struct SmallDisk {
    mounted: PathBuf,
}

impl SmallDisk {
    fn mount(directory: &Directory) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let image = directory.join("disk.img");
        let mounted = directory.folder("data");
        let file = fs::File::create(&image).expect("a file of ours");
        file.set_len(DISK_SIZE).expect("there is space");
        succeed(Command::new("/sbin/mkfs.ext4").arg("-q").arg(&image));
        let mount = output(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted));
        mount.status.success().then_some(Self { mounted })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let end = Instant::now() + seconds(10);
        while Instant::now() < end {
            if output(Command::new("umount").arg(&self.mounted)).status.success() {
                return;
            }
            sleep(Duration::from_millis(100));
        }
    }
}

const SMALL_SPOOL: &str = "\
[spool]
segment_size = \"4MiB\"

[bounce_profile]
initial_retry = \"2s\"
max_retry = \"2s\"

";
const DISK_SIZE: u64 = 96 * 1024 * 1024;
/// Connections to the next hop at once, and so deliveries under way when a kill strikes.
const CONNECTIONS: u32 = 10;
/// Outcomes of a connection that may wait for the disk when a kill strikes, on average.
const UNWRITTEN_MAX: u32 = 5;

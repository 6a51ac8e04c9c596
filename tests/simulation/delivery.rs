//! A seeded world around several shards' schedules, to find what no single test thinks of.
//!
//! Messages arrive at random, hosts go down and come back, connections break at every stage. The
//! world calls `next` only when the contract says so, thus a wake-up the schedule
//! forgets leaves messages behind, and one it repeats never ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use ringpost_core::{
    event::{Failure, Status},
    id::Mid,
    time::{Date, Time},
};
use ringpost_delivery::{
    home::{Homes, homes},
    outcome::{Outcome, connection_lost, judge},
    retry::BounceProfile,
    schedule::{
        ConnectionId, Counts, Item, Lease, Limits, Next, Schedule, Settlement, Share, Take,
    },
};

use crate::random::Random;

/// Lives through the world of `seed`; panics where the schedule breaks a promise.
pub(crate) fn run(seed: u64) -> Seen {
    let mut world = World::new(seed);
    world.run();
    world.seen
}

struct World {
    seed: u64,
    random: Random,
    now: Time,
    events: BTreeMap<(Time, u64), (usize, Event)>,
    next_event: u64,
    shards: Vec<Shard>,
    hosts: Vec<Host>,
    stories: BTreeMap<u64, Story>,
    /// In which order messages were enqueued.
    order: BTreeMap<u64, u64>,
    next_order: u64,
    /// Counts the configurations.
    epoch: u32,
    /// Shards whose schedule was called and must be asked what is next.
    touched: BTreeSet<usize>,
    profile: BounceProfile,
    seen: Seen,
}

struct Shard {
    schedule: Schedule,
    idle: BTreeMap<ConnectionId, Lease>,
    /// Of each destination, the last message whose first attempt was made.
    last_first: BTreeMap<usize, u64>,
    tick: Time,
}

struct Host {
    domain: Arc<str>,
    homes: Homes,
    limit: u32,
    messages_per_connection: u32,
    /// It is down from the first to the second of each pair.
    down: Vec<(Time, Time)>,
    /// Its connections, each with the epoch it was opened in.
    open: BTreeMap<(usize, ConnectionId), u32>,
}

enum Event {
    Arrive {
        host: usize,
        mid: u64,
    },
    Connected {
        host: usize,
        lease: Lease,
    },
    Delivered {
        host: usize,
        lease: Lease,
        item: Item,
    },
    IdleEnds {
        connection: ConnectionId,
    },
    Closed {
        host: usize,
        lease: Lease,
    },
    /// An item no shard had room for when its home changed.
    Offer {
        host: usize,
        item: Item,
    },
    Reload,
    Drain,
    Resume,
    Tick,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Story {
    Waiting,
    Active,
    Over,
}

/// What happened, to be sure that the world is not too kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Seen {
    delivered: u32,
    deferred: u32,
    bounced: u32,
    expired: u32,
    unreachable: u32,
    resumed: u32,
    refused: u32,
    rehomed: u32,
    full_limits: u32,
    used_up: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            seed,
            random: Random::new(seed),
            now: Time::ZERO,
            events: BTreeMap::new(),
            next_event: 0,
            shards: Vec::new(),
            hosts: Vec::new(),
            stories: BTreeMap::new(),
            order: BTreeMap::new(),
            next_order: 0,
            epoch: 0,
            touched: BTreeSet::new(),
            profile: BounceProfile {
                max_retries: 100,
                max_time_in_queue: Duration::from_secs(3 * 3_600),
                ..BounceProfile::default()
            },
            seen: Seen::default(),
        };
        world.profile.max_retries = u32::try_from(world.below(8)).expect("small");
        let shards = 1 + world.below(4);
        let is_tight = world.below(3) == 0;
        for _ in 0..shards {
            let limits = if is_tight {
                Limits {
                    max_destinations: 4,
                    max_items: 40,
                    max_connections: 3,
                    ..Limits::default()
                }
            } else {
                Limits::default()
            };
            let schedule = Schedule::new(limits);
            let (idle, last_first) = (BTreeMap::new(), BTreeMap::new());
            world.shards.push(Shard { schedule, idle, last_first, tick: Time::NEVER });
        }
        for number in 0..1 + world.below(10) {
            let host = world.host(number, u16::try_from(shards).expect("at most 4"));
            world.hosts.push(host);
        }
        world.arrivals();
        world
    }

    fn host(&mut self, number: u64, shards: u16) -> Host {
        let domain: Arc<str> = format!("d{number}.example").into();
        let limit = LIMITS[self.random.below(LIMITS.len())];
        let mut down = Vec::new();
        for _ in 0..self.below(3) {
            let start = Time::ZERO + Duration::from_secs(self.below(3_600));
            down.push((start, start + Duration::from_secs(self.below(4 * 3_600))));
        }
        Host {
            homes: homes(&domain, limit, shards),
            domain,
            limit,
            messages_per_connection: 1 + u32::try_from(self.below(20)).expect("small"),
            down,
            open: BTreeMap::new(),
        }
    }

    fn arrivals(&mut self) {
        let hosts = self.hosts.len();
        let span = [1, 60, 3_600][self.below(3) as usize];
        for mid in 0..self.below(400) {
            // A few popular destinations, as in life.
            let host = self.below(hosts).min(self.below(hosts)) as usize;
            let shard = usize::from(self.hosts[host].homes.pick(Mid(mid)));
            let wait = Duration::from_millis(self.below(span * 1_000));
            self.after(wait, shard, Event::Arrive { host, mid });
            self.stories.insert(mid, Story::Waiting);
        }
        for _ in 0..self.below(3) {
            let wait = Duration::from_secs(self.below(3_600));
            self.after(wait, 0, Event::Reload);
        }
        if self.below(4) == 0 {
            for shard in 0..self.shards.len() {
                let wait = Duration::from_secs(self.below(60));
                self.after(wait, shard, Event::Drain);
                self.after(wait + Duration::from_secs(30), shard, Event::Resume);
            }
        }
    }

    fn run(&mut self) {
        let mut count = 0;
        while let Some(((time, _), (shard, event))) = self.events.pop_first() {
            assert!(time >= self.now, "time goes forward");
            self.now = time;
            self.touched.insert(shard);
            self.happen(shard, event);
            self.rehome(shard);
            while let Some(shard) = self.touched.pop_first() {
                self.pump(shard);
            }
            count += 1;
            let most = 1_000 + 200 * self.stories.len() * 20;
            assert!(count < most, "seed {}: events without end", self.seed);
        }
        for shard in &self.shards {
            let counts = shard.schedule.counts();
            let Counts { destinations, down, .. } = counts;
            let rest = Counts { destinations, down, ..Counts::default() };
            assert_eq!(counts, rest, "seed {}: all comes to rest", self.seed);
            assert_eq!(shard.schedule.deadline(), Time::NEVER, "seed {}", self.seed);
        }
        let over = self.stories.values().all(|&story| story == Story::Over);
        assert!(over, "seed {}: a message was lost", self.seed);
        assert!(self.hosts.iter().all(|host| host.open.is_empty()));
    }

    fn happen(&mut self, shard: usize, event: Event) {
        match event {
            Event::Arrive { host, mid } => self.arrive(host, mid),
            Event::Offer { host, item } => self.offer(host, item),
            Event::Reload => self.reload(),
            Event::Connected { host, lease } => self.connected(shard, host, lease),
            Event::Delivered { host, lease, item } => self.delivered(shard, host, lease, item),
            Event::IdleEnds { connection } => {
                if let Some(lease) = self.shards[shard].idle.remove(&connection) {
                    let host = self.host_of(lease.domain());
                    self.take(shard, host, lease);
                }
            }
            Event::Closed { host, lease } => {
                self.hosts[host].open.remove(&(shard, lease.connection()));
                self.shards[shard].schedule.closed(lease, self.now);
            }
            Event::Drain => self.shards[shard].schedule.drain(),
            Event::Resume => self.shards[shard].schedule.resume(),
            Event::Tick => self.shards[shard].tick = Time::NEVER,
        }
    }

    /// What every driver does after every call: ask until there is nothing, then sleep.
    fn pump(&mut self, shard: usize) {
        let mut rounds = 0;
        while let Some(next) = self.shards[shard].schedule.next(self.now) {
            rounds += 1;
            assert!(rounds < 10_000, "seed {}: work without end", self.seed);
            match next {
                Next::Open(lease) => self.open(shard, lease),
                Next::Resume(connection) => {
                    self.seen.resumed += 1;
                    if let Some(lease) = self.shards[shard].idle.remove(&connection) {
                        let host = self.host_of(lease.domain());
                        self.take(shard, host, lease);
                    }
                }
                Next::Expired { item, .. } => {
                    assert!(self.now > item.expires, "seed {}: too early", self.seed);
                    self.turn(item.mid, Story::Waiting, Story::Over);
                    self.seen.expired += 1;
                }
            }
        }
        let deadline = self.shards[shard].schedule.deadline();
        assert!(deadline > self.now, "seed {}: a deadline with nothing to do", self.seed);
        if deadline < self.shards[shard].tick {
            self.shards[shard].tick = deadline;
            self.at(deadline, shard, Event::Tick);
        }
    }

    fn arrive(&mut self, host: usize, mid: u64) {
        let first_queued = self.date();
        let item = Item {
            mid: Mid(mid),
            rids: Default::default(),
            attempts: 0,
            first_queued,
            not_before: Time::ZERO,
            expires: self.now + self.profile.max_time_in_queue,
            size: 1_000,
        };
        self.offer(host, item);
    }

    /// Brings an item to the home its message picks.
    fn offer(&mut self, host: usize, item: Item) {
        let mid = item.mid;
        let home = self.hosts[host].homes.pick(mid);
        let share = self.hosts[host].share(home);
        let shard = usize::from(home);
        self.touched.insert(shard);
        let schedule = &mut self.shards[shard].schedule;
        match schedule.enqueue(&self.hosts[host].domain, share, item, self.now) {
            Ok(()) => {
                self.order.insert(mid.0, self.next_order);
                self.next_order += 1;
            }
            Err(refused) => {
                assert_eq!(refused.item.mid, mid);
                self.seen.refused += 1;
                let (wait, item) = (Duration::from_secs(120), refused.item);
                self.after(wait, shard, Event::Offer { host, item });
            }
        }
    }

    /// Hands over what this shard is no home to any more.
    fn rehome(&mut self, shard: usize) {
        while let Some((domain, item)) = self.shards[shard].schedule.rehome() {
            self.seen.rehomed += 1;
            let host = self.host_of(&domain);
            assert_ne!(usize::from(self.hosts[host].homes.pick(item.mid)), shard);
            self.offer(host, item);
        }
    }

    /// Every shard takes over other limits in the same moment.
    fn reload(&mut self) {
        self.epoch += 1;
        let shards = u16::try_from(self.shards.len()).expect("few shards");
        for host in 0..self.hosts.len() {
            let limit = LIMITS[self.random.below(LIMITS.len())];
            let host = &mut self.hosts[host];
            host.limit = limit;
            host.homes = homes(&host.domain, limit, shards);
        }
        for (number, shard) in (0..).zip(&mut self.shards) {
            let hosts = &self.hosts;
            let share = |domain: &Arc<str>| {
                let host = hosts.iter().find(|host| host.domain == *domain);
                host.expect("only known domains are enqueued").share(number)
            };
            shard.schedule.adopt(share, self.now);
            self.touched.insert(usize::from(number));
        }
        for shard in 0..self.shards.len() {
            self.rehome(shard);
        }
    }

    fn open(&mut self, shard: usize, lease: Lease) {
        let host = self.host_of(lease.domain());
        let Host { open, limit, .. } = &mut self.hosts[host];
        open.insert((shard, lease.connection()), self.epoch);
        // Connections of an older configuration are closing.
        let current = open.values().filter(|&&epoch| epoch == self.epoch).count();
        let limit = *limit as usize;
        assert!(current <= limit, "seed {}: {current} connections", self.seed);
        self.seen.full_limits += u32::from(current == limit && limit > 1);
        let wait = Duration::from_millis(self.below(2_000));
        self.after(wait, shard, Event::Connected { host, lease });
    }

    fn connected(&mut self, shard: usize, host: usize, lease: Lease) {
        if self.is_down(host) || self.below(50) == 0 {
            self.seen.unreachable += 1;
            self.hosts[host].open.remove(&(shard, lease.connection()));
            let (jitter, now) = (self.random.draw(), self.now);
            self.shards[shard].schedule.unreachable(lease, jitter, now);
        } else {
            self.take(shard, host, lease);
        }
    }

    fn take(&mut self, shard: usize, host: usize, mut lease: Lease) {
        match self.shards[shard].schedule.take(&mut lease, self.now) {
            Take::Item(item) => {
                assert!(lease.taken() <= self.hosts[host].messages_per_connection);
                assert!(self.now <= item.expires && item.not_before <= self.now);
                self.turn(item.mid, Story::Waiting, Story::Active);
                if item.attempts == 0 {
                    let order = self.order[&item.mid.0];
                    let last = self.shards[shard].last_first.insert(host, order);
                    assert!(last < Some(order), "seed {}: first come, first served", self.seed);
                }
                self.deliver(shard, host, lease, item);
            }
            Take::Wait(until) => {
                assert!(until > self.now);
                let connection = lease.connection();
                self.shards[shard].idle.insert(connection, lease);
                self.at(until, shard, Event::IdleEnds { connection });
                // Sometimes the peer is the first to lose patience.
                if self.below(10) == 0 {
                    let lease = self.shards[shard].idle.remove(&connection).expect("just put");
                    let wait = Duration::from_millis(self.below(5_000));
                    self.after(wait, shard, Event::Closed { host, lease });
                }
            }
            Take::Close => {
                self.seen.used_up +=
                    u32::from(lease.taken() == self.hosts[host].messages_per_connection);
                let wait = Duration::from_millis(self.below(500));
                self.after(wait, shard, Event::Closed { host, lease });
            }
        }
    }

    fn deliver(&mut self, shard: usize, host: usize, lease: Lease, item: Item) {
        let wait = Duration::from_millis(1 + self.below(3_000));
        self.after(wait, shard, Event::Delivered { host, lease, item });
    }

    fn delivered(&mut self, shard: usize, host: usize, mut lease: Lease, item: Item) {
        let is_broken = self.is_down(host) || self.below(30) == 0;
        let is_deferred = is_broken || self.below(8) == 0;
        let again = if is_deferred { self.judge(item) } else { self.finish(item.mid) };
        let settlement = Settlement { completed: !is_broken, again };
        self.shards[shard].schedule.settle(&mut lease, settlement, self.now);
        if is_broken {
            self.hosts[host].open.remove(&(shard, lease.connection()));
            self.shards[shard].schedule.closed(lease, self.now);
        } else {
            self.take(shard, host, lease);
        }
    }

    fn finish(&mut self, mid: Mid) -> Option<Item> {
        self.seen.delivered += 1;
        self.turn(mid, Story::Active, Story::Over);
        None
    }

    fn judge(&mut self, item: Item) -> Option<Item> {
        let failure = connection_lost(&"mx.example".into(), "reset".into());
        let (attempts, jitter) = (item.attempts + 1, self.random.draw());
        match judge(failure, &self.profile, attempts, item.first_queued, self.date(), jitter) {
            Outcome::Deferred { until, .. } => {
                self.seen.deferred += 1;
                self.turn(item.mid, Story::Active, Story::Waiting);
                let not_before = self.now + until.since(self.date());
                Some(Item { attempts, not_before, ..item })
            }
            Outcome::Bounced { failure: Failure { status, .. } } => {
                assert_eq!(status, Status::new(5, 4, 7));
                self.seen.bounced += 1;
                self.turn(item.mid, Story::Active, Story::Over);
                None
            }
        }
    }

    fn turn(&mut self, mid: Mid, from: Story, to: Story) {
        let story = self.stories.insert(mid.0, to);
        assert_eq!(story, Some(from), "seed {}: message {mid} is one message", self.seed);
    }

    fn is_down(&self, host: usize) -> bool {
        let down = &self.hosts[host].down;
        down.iter().any(|&(start, end)| start <= self.now && self.now < end)
    }

    fn host_of(&self, domain: &Arc<str>) -> usize {
        let found = self.hosts.iter().position(|host| host.domain == *domain);
        found.expect("only known domains are enqueued")
    }

    fn date(&self) -> Date {
        Date::from_millis(i64::try_from(self.now.nanos() / 1_000_000).expect("hours"))
    }

    fn after(&mut self, wait: Duration, shard: usize, event: Event) {
        self.at(self.now + wait, shard, event);
    }

    fn at(&mut self, time: Time, shard: usize, event: Event) {
        self.events.insert((time, self.next_event), (shard, event));
        self.next_event += 1;
    }

    fn below(&mut self, limit: usize) -> u64 {
        self.random.below(limit) as u64
    }
}

impl Host {
    fn share(&self, shard: u16) -> Share {
        Share {
            connections: self.homes.share(shard),
            messages_per_connection: self.messages_per_connection,
        }
    }
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.deferred += other.deferred;
        self.bounced += other.bounced;
        self.expired += other.expired;
        self.unreachable += other.unreachable;
        self.resumed += other.resumed;
        self.refused += other.refused;
        self.rehomed += other.rehomed;
        self.full_limits += other.full_limits;
        self.used_up += other.used_up;
    }

    pub(crate) fn assert_everything_happened(&self) {
        let Self { delivered, deferred, bounced, expired, unreachable, .. } = *self;
        let Self { resumed, refused, full_limits, used_up, .. } = *self;
        for (count, what) in [
            (delivered, "delivered"),
            (deferred, "deferred"),
            (bounced, "bounced"),
            (expired, "expired"),
            (unreachable, "unreachable"),
            (resumed, "resumed"),
            (refused, "refused"),
            (self.rehomed, "rehomed"),
            (full_limits, "full_limits"),
            (used_up, "used_up"),
        ] {
            assert!(count > 0, "no seed has seen {what}: {self:?}");
        }
    }
}

const LIMITS: [u32; 6] = [1, 2, 10, 33, 64, 100];

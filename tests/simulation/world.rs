//! The whole gateway's world: clients, next hops, names, a disk, crashes, and an end to all faults.
//!
//! After some time nothing fails any more; then everything must come to rest, and the ledger says
//! whether every message came to the end that was promised for it.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use ringpost_core::{
    lookup::{Answer, Mx, Question},
    time::Time,
};
use ringpost_delivery::{retry::BounceProfile, schedule::Share};

use crate::{
    clients,
    disk::Disk,
    gateway::{Defect, Gateway},
    invariants::{Ledger, Totals},
    network::{self, End},
    tasks::{Owner, Tasks},
};

/// Everything around the gateway, and what all of it shares.
pub(crate) struct Surroundings {
    pub(crate) tasks: Tasks,
    pub(crate) disk: RefCell<Disk>,
    pub(crate) ledger: RefCell<Ledger>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) profile: BounceProfile,
    pub(crate) has_faults: Cell<bool>,
    pub(crate) defect: Defect,
    gateway: RefCell<Option<Gateway>>,
    last_number: Cell<u64>,
}

/// A domain with its hosts.
pub(crate) struct Host {
    pub(crate) domain: Arc<str>,
    pub(crate) limit: u32,
    pub(crate) messages_per_connection: u32,
    is_difficult: bool,
    exchangers: u8,
}

/// Lives through the world of `seed`; an error is a promise that was broken.
pub(crate) fn run(seed: u64, defect: Defect) -> Result<Totals, String> {
    let around = Rc::new(Surroundings::new(seed, defect));
    let result = live(&around);
    around.gateway.take();
    around.tasks.end(Owner::Gateway);
    around.tasks.end(Owner::World);
    result?;
    let mut totals = around.ledger.borrow().totals;
    totals.steps = around.tasks.steps();
    totals.seconds = around.tasks.now().nanos() / 1_000_000_000;
    Ok(totals)
}

fn live(around: &Rc<Surroundings>) -> Result<(), String> {
    let tasks = &around.tasks;
    around.start();
    for _ in 0..1 + tasks.below(8) {
        let wait = tasks.delay(Duration::from_secs(300));
        let client = Rc::clone(around);
        tasks.spawn(Owner::World, async move {
            client.tasks.sleep(wait).await;
            clients::run(client).await;
        });
    }
    let mut crashes = tasks.below(4);
    let mut crash_at = tasks.below(1 << (4 + tasks.below(8))) as u64;
    let calm_at = Time::ZERO + Duration::from_secs(60 + tasks.below(2_000) as u64);
    loop {
        let goes_on = tasks.step();
        around.ledger.borrow_mut().verdict()?;
        if tasks.steps() > STEPS_MAX {
            let gateway = around.gateway.borrow();
            let remains = gateway.as_ref().and_then(Gateway::remains).unwrap_or_default();
            return Err(format!("the world does not come to rest: {remains}"));
        }
        if around.has_faults.get() && (tasks.now() >= calm_at || (!goes_on && crashes == 0)) {
            around.has_faults.set(false);
            around.disk.borrow_mut().capacity = usize::MAX;
        }
        if crashes > 0 && (tasks.steps() >= crash_at || !goes_on) {
            crashes -= 1;
            crash_at = tasks.steps() + tasks.below(1 << (2 + tasks.below(9))) as u64;
            around.restart();
        } else if !goes_on {
            let gateway = around.gateway.borrow();
            if !gateway.as_ref().is_some_and(Gateway::has_failed_disk) {
                break;
            }
            drop(gateway);
            around.restart();
        }
    }
    around.check()
}

impl Surroundings {
    fn new(seed: u64, defect: Defect) -> Self {
        let tasks = Tasks::new(seed);
        let capacity = if tasks.chance(1, 4) { 5 + tasks.below(6) } else { 100 };
        let is_rough = tasks.chance(4, 5);
        let hosts = (0..1 + tasks.below(5)).map(|number| Host {
            domain: format!("d{number}.example").into(),
            limit: [1, 2, 5, 40, 100][tasks.below(5)],
            messages_per_connection: 1 + tasks.below(4) as u32,
            is_difficult: is_rough && tasks.chance(2, 3),
            exchangers: 1 + tasks.below(2) as u8,
        });
        let hosts = hosts.collect();
        let profile = BounceProfile {
            max_retries: [1, 4, 20][tasks.below(3)],
            max_time_in_queue: Duration::from_secs(600 + tasks.below(20_000) as u64),
            ..BounceProfile::default()
        };
        Self {
            disk: RefCell::new(Disk::new(capacity)),
            ledger: RefCell::default(),
            hosts,
            profile,
            has_faults: Cell::new(true),
            defect,
            gateway: RefCell::default(),
            last_number: Cell::new(0),
            tasks,
        }
    }

    /// A number nothing else has: of messages, connections and tokens.
    pub(crate) fn number(&self) -> u64 {
        self.last_number.set(self.last_number.get() + 1);
        self.last_number.get()
    }

    pub(crate) fn last_number(&self) -> u64 {
        self.last_number.get()
    }

    pub(crate) fn salt(&self) -> u32 {
        (self.tasks.draw() >> 32) as u32
    }

    pub(crate) fn violated(&self, violation: String) {
        self.ledger.borrow_mut().violated(violation);
    }

    /// The domain all senders are at.
    pub(crate) fn home(&self) -> &str {
        &self.hosts[0].domain
    }

    /// A connection of a client to the gateway, if it is up.
    pub(crate) fn call(&self) -> Option<End> {
        let (ours, theirs) = network::connect(&self.tasks, self.has_faults.get());
        self.gateway.borrow().as_ref()?.accept(theirs);
        Some(ours)
    }

    pub(crate) fn host_at(&self, address: IpAddr) -> Option<usize> {
        let IpAddr::V4(address) = address else {
            return None;
        };
        let host = usize::from(address.octets()[2]);
        (host < self.hosts.len()).then_some(host)
    }

    pub(crate) fn is_difficult(&self, host: usize) -> bool {
        self.has_faults.get() && self.hosts[host].is_difficult
    }

    /// The limits of a destination, for all shards together.
    pub(crate) fn share_of(&self, domain: &str) -> Share {
        let host = self.hosts.iter().find(|host| *host.domain == *domain);
        host.map_or(Share { connections: 1, messages_per_connection: 10 }, |host| Share {
            connections: host.limit,
            messages_per_connection: host.messages_per_connection,
        })
    }

    /// The DNS.
    pub(crate) async fn ask(&self, question: &Question) -> Answer {
        self.tasks.sleep(self.tasks.delay(Duration::from_secs(1))).await;
        if self.has_faults.get() && self.tasks.chance(1, 30) {
            return Answer::Unavailable("SERVFAIL".into());
        }
        let find = |name: &str| self.hosts.iter().position(|host| name.ends_with(&*host.domain));
        match question {
            Question::Client(_) => unreachable!("clients are not looked up"),
            Question::Mx(domain) => find(domain).map_or(Answer::NoSuchName, |host| {
                let mx = |number: u8| Mx {
                    preference: u16::from(number) * 10,
                    host: format!("mx{number}.{domain}").into(),
                };
                Answer::Mx((1..=self.hosts[host].exchangers).map(mx).collect())
            }),
            Question::Addresses(name) => find(name).map_or(Answer::NoSuchName, |host| {
                let number = name.as_bytes()[2] - b'0';
                let host = u8::try_from(host).expect("few hosts");
                Answer::Addresses(vec![IpAddr::from([10, 0, host, number])])
            }),
        }
    }

    fn start(self: &Rc<Self>) {
        let shards = u16::try_from(1 + self.tasks.below(4)).expect("few shards");
        let gateway = Gateway::start(self, shards);
        self.gateway.replace(Some(gateway));
    }

    fn restart(self: &Rc<Self>) {
        let gateway = self.gateway.take().expect("it was started");
        gateway.crash();
        self.start();
    }

    fn check(&self) -> Result<(), String> {
        let remains = self.gateway.borrow().as_ref().and_then(Gateway::remains);
        if let Some(remains) = remains {
            return Err(format!("not everything came to an end: {remains}"));
        }
        let waiting = self.tasks.count(Owner::World);
        if waiting > 0 {
            return Err(format!("{waiting} connections never ended"));
        }
        self.ledger.borrow_mut().check()
    }
}

/// No world is so long.
const STEPS_MAX: u64 = 300_000;

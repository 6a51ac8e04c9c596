//! The index of a HAT against a scan of its rows from the top, over many random tables.

use std::sync::Arc;

use ringpost_core::lookup::ClientName;
use ringpost_policy::{
    hat::{Entry, Group, Hat},
    mail_flow::{Behavior, MailFlowPolicy},
};

fn policy(behavior: Behavior) -> Arc<MailFlowPolicy> {
    Arc::new(MailFlowPolicy::new("P".into(), behavior))
}

fn group(name: &str, behavior: Behavior, senders: &[&str]) -> Group {
    let entries = senders.iter().map(|text| Entry::parse(text).expect(text)).collect();
    Group { name: Some(name.into()), entries, policy: policy(behavior) }
}

/// Small alphabets, so that rows overlap often.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }

    fn octet(&mut self) -> u64 {
        [0, 1, 2, 127, 128, 255][usize::try_from(self.below(6)).expect("small")]
    }

    fn address(&mut self) -> String {
        let octets = [(); 4].map(|()| self.octet());
        let [a, b, c, d] = octets;
        match self.below(3) {
            0 => format!("{a}.{b}.{c}.{d}"),
            1 => format!("::ffff:{a}.{b}.{c}.{d}"),
            _ => format!("2001:db8::{a:x}:{b:x}"),
        }
    }

    fn name(&mut self) -> String {
        let labels = (0..=self.below(3)).map(|_| ["a", "b", "cc"][self.below(3) as usize]);
        labels.collect::<Vec<_>>().join(".")
    }

    fn client(&mut self) -> ClientName {
        match self.below(6) {
            0 => ClientName::NoName,
            1 => ClientName::Unavailable,
            2 => ClientName::Mismatched(self.name().into()),
            _ => ClientName::Verified(self.name().into()),
        }
    }

    fn sender(&mut self) -> String {
        let [a, b, c, d] = [(); 4].map(|()| self.octet());
        let (low, high) = (b.min(c), b.max(c));
        match self.below(15) {
            0 => format!("{a}.{b}.{c}.{d}"),
            1 => format!("{a}.{b}.{c}."),
            2 => format!("{a}.{b}"),
            3 => format!("{a}"),
            4 => format!("{a}.{d}.{a}.{low}-{high}"),
            5 => format!("{a}.{d}.{low}-{high}."),
            6 => format!("{low}-{high}"),
            7 => format!("{a}.{b}.{c}/{}", self.below(33)),
            8 => format!("2001:db8::{a:x}:{b:x}"),
            9 => format!("2001:db8::{a:x}:{low:x}-2001:db8::{a:x}:{high:x}"),
            10 => format!("2001:db8::{a:x}:{b:x}/{}", 100 + self.below(29)),
            11 => format!("::ffff:{a}.{b}.0.0/{}", 90 + self.below(39)),
            12 => self.name(),
            13 => format!(".{}", self.name()),
            _ => ["nx.domain", "serv.fail", "not.double.verified", "ALL"][self.below(4) as usize]
                .into(),
        }
    }
}

#[test]
fn the_index_answers_as_a_scan_from_the_top_would() {
    let behaviors = [Behavior::Accept, Behavior::Relay, Behavior::Reject, Behavior::Continue];
    let (mut rows_hit, all) = (0, "ALL".into());
    for seed in 0..400 {
        let mut seeded = Seeded(seed);
        let groups: Vec<_> = (0..6)
            .map(|number| {
                let senders: Vec<_> = (0..=seeded.below(8)).map(|_| seeded.sender()).collect();
                let senders: Vec<_> = senders.iter().map(String::as_str).collect();
                let behavior = behaviors[seeded.below(4) as usize];
                group(&format!("G{number}"), behavior, &senders)
            })
            .collect();
        let hat = Hat::new(groups.clone(), policy(Behavior::TcpRefuse));
        for _ in 0..200 {
            let (address, name) = (seeded.address(), seeded.client());
            let address = address.parse().expect("valid");
            let scanned = groups
                .iter()
                .filter(|group| group.policy.behavior != Behavior::Continue)
                .flat_map(|group| group.entries.iter().map(move |entry| (group, entry)))
                .find(|(_, entry)| entry.matches(address, &name))
                .map(|(group, entry)| (group.name.as_ref(), entry.text()));
            let found = hat.classify(address, &name);
            rows_hit += usize::from(scanned.is_some());
            let scanned = scanned.unwrap_or((None, &all));
            assert_eq!((found.group, found.entry), scanned, "{seed} {address} {name:?}");
        }
    }
    assert!((20_000..70_000).contains(&rows_hit), "{rows_hit}: rows must hit and miss");
}

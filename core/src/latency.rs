//! Where the time of a message goes: one histogram a stage, folded from events.
//!
//! Each shard owns a set; nothing is shared and nothing is atomic. Control adds the sets up. There
//! is no second measurement anywhere: what no event carries is not measured.

use core::{array, time::Duration};

use hdrhistogram::Histogram;

use crate::event::Event;

/// A part of a message's way that is timed, in the order in which a message passes them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Stage {
    /// Finding out and verifying the name of a client.
    ClientName,
    /// Choosing the sender group of a connection.
    Classify,
    /// Deciding about one recipient.
    Recipient,
    /// Receiving the content.
    Content,
    /// Running the message filters.
    Filter,
    /// Making a message durable.
    Commit,
    /// Waiting for a connection to the destination.
    Queue,
    /// Connecting to a next hop.
    Connect,
    /// Handing a message to a next hop.
    Deliver,
    /// From MAIL until nothing is left to do.
    Total,
}

/// The histograms of one shard, or of several added up. About 270 KiB, whatever is recorded.
///
/// Values are kept in microseconds with an error below 1 %, from 1 us to an hour; what lies outside
/// counts as the nearest of the two.
#[derive(Clone, Debug)]
pub struct Latency {
    histograms: [Histogram<u64>; Stage::ALL.len()],
}

/// How long a stage took. All zero when nothing was recorded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Percentiles {
    /// How many were recorded.
    pub count: u64,
    /// The median.
    pub p50: Duration,
    /// Nine of ten took no longer.
    pub p90: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// 999 of 1000 took no longer.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 10] = [
        Self::ClientName,
        Self::Classify,
        Self::Recipient,
        Self::Content,
        Self::Filter,
        Self::Commit,
        Self::Queue,
        Self::Connect,
        Self::Deliver,
        Self::Total,
    ];

    /// Its name in metrics and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientName => "client_name",
            Self::Classify => "classify",
            Self::Recipient => "recipient",
            Self::Content => "content",
            Self::Filter => "filter",
            Self::Commit => "commit",
            Self::Queue => "queue",
            Self::Connect => "connect",
            Self::Deliver => "deliver",
            Self::Total => "total",
        }
    }
}

impl Latency {
    /// Nothing recorded yet.
    #[must_use]
    pub fn new() -> Self {
        let empty = Histogram::new_with_bounds(LOWEST_MICROS, HIGHEST_MICROS, SIGNIFICANT_DIGITS)
            .expect("the bounds are constants that hdrhistogram allows");
        Self { histograms: array::from_fn(|_| empty.clone()) }
    }

    /// Records what `event` says about time, if it says anything.
    pub fn observe(&mut self, event: &Event) {
        if let Some((stage, took)) = measured(event) {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            self.histograms[stage as usize].saturating_record(micros.max(LOWEST_MICROS));
        }
    }

    /// Adds what another shard recorded.
    pub fn add(&mut self, other: &Self) {
        for (sum, addend) in self.histograms.iter_mut().zip(&other.histograms) {
            sum.add(addend).expect("all histograms have the same bounds");
        }
    }

    /// How long a stage took so far.
    #[must_use]
    pub fn percentiles(&self, stage: Stage) -> Percentiles {
        let histogram = &self.histograms[stage as usize];
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
        Percentiles {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_micros(histogram.max()),
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

const fn measured(event: &Event) -> Option<(Stage, Duration)> {
    match event {
        Event::ConnectionOpened { took, .. } => Some((Stage::ClientName, *took)),
        Event::ConnectionClassified { took, .. } => Some((Stage::Classify, *took)),
        Event::RecipientAccepted { took, .. } => Some((Stage::Recipient, *took)),
        Event::MessageReceived { took, .. } => Some((Stage::Content, *took)),
        Event::MessageFiltered { took, .. } => Some((Stage::Filter, *took)),
        Event::MessageQueued { took, .. } => Some((Stage::Commit, *took)),
        Event::DeliveryConnectionOpened { took, .. } => Some((Stage::Connect, *took)),
        Event::DeliveryStarted { waited, .. } => Some((Stage::Queue, *waited)),
        Event::RecipientsDelivered { took, .. } => Some((Stage::Deliver, *took)),
        Event::MessageFinished { took, .. } => Some((Stage::Total, *took)),
        Event::ConnectionRefused { .. }
        | Event::TlsEstablished { .. }
        | Event::TlsFailed { .. }
        | Event::MessageStarted { .. }
        | Event::SenderRefused { .. }
        | Event::RecipientRefused { .. }
        | Event::LogEntryWritten { .. }
        | Event::MessageRewritten { .. }
        | Event::MessageAborted { .. }
        | Event::PolicyMatched { .. }
        | Event::ConnectionClosed { .. }
        | Event::DeliveryTlsEstablished { .. }
        | Event::DeliveryTlsFailed { .. }
        | Event::ConnectionFailed { .. }
        | Event::RouteFailed { .. }
        | Event::RecipientsDeferred { .. }
        | Event::RecipientsBounced { .. }
        | Event::DeliveryConnectionClosed { .. }
        | Event::BounceGenerated { .. }
        | Event::DoubleBounced { .. }
        | Event::MessageRecovered { .. }
        | Event::SpoolFailed { .. }
        | Event::SpoolResumed
        | Event::RecordDamaged { .. } => None,
    }
}

const LOWEST_MICROS: u64 = 1;
const HIGHEST_MICROS: u64 = 3_600_000_000;
/// Two digits make an error of 1 % and 27 KiB a histogram; three would make 190 KiB.
const SIGNIFICANT_DIGITS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Finish,
        id::{Dcid, Mid, Rids},
    };

    fn filtered(took: Duration) -> Event {
        Event::MessageFiltered { mid: Mid(1), matched: 0, took }
    }

    #[test]
    fn percentiles_are_within_one_percent() {
        let mut latency = Latency::new();
        for micros in 1..=10_000 {
            latency.observe(&filtered(Duration::from_micros(micros)));
        }
        let found = latency.percentiles(Stage::Filter);
        assert_eq!(found.count, 10_000);
        for (value, exact) in
            [(found.p50, 5_000), (found.p90, 9_000), (found.p99, 9_900), (found.p999, 9_990)]
        {
            let error = value.as_micros().abs_diff(exact);
            assert!(error * 100 <= exact, "{value:?} is not {exact} us");
        }
    }

    #[test]
    fn each_event_feeds_its_own_stage_only() {
        let mut latency = Latency::new();
        let took = Duration::from_millis(2);
        let (dcid, mid) = (Dcid(1), Mid(1));
        latency.observe(&Event::DeliveryStarted { dcid, mid, rids: Rids::new(), waited: took });
        latency.observe(&Event::MessageFinished { mid, how: Finish::Done, took });
        latency.observe(&Event::SpoolResumed);
        for stage in Stage::ALL {
            let expected = u64::from(matches!(stage, Stage::Queue | Stage::Total));
            assert_eq!(latency.percentiles(stage).count, expected, "{}", stage.as_str());
        }
    }

    #[test]
    fn stages_index_their_histograms() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index);
        }
    }

    #[test]
    fn values_out_of_range_count_as_the_nearest() {
        let mut latency = Latency::new();
        latency.observe(&filtered(Duration::ZERO));
        latency.observe(&filtered(Duration::MAX));
        let found = latency.percentiles(Stage::Filter);
        assert_eq!((found.count, found.p50), (2, Duration::from_micros(1)));
        let hour = Duration::from_secs(3_600);
        assert!(found.max >= hour && found.max <= hour.mul_f64(1.2), "{:?}", found.max);
    }

    #[test]
    fn sets_add_up_and_an_empty_one_says_zero() {
        let (mut sum, mut other) = (Latency::new(), Latency::new());
        assert_eq!(sum.percentiles(Stage::Total), Percentiles::default());
        sum.observe(&filtered(Duration::from_micros(10)));
        other.observe(&filtered(Duration::from_micros(30)));
        sum.add(&other);
        let found = sum.percentiles(Stage::Filter);
        assert_eq!((found.count, found.max), (2, Duration::from_micros(30)));
    }
}

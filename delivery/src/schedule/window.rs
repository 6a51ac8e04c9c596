//! How many connections one destination gets: its limits, a slow start, and rest when it is down.
//!
//! The window opens by one for each transaction the peer went through, up to this shard's share.
//! A peer that cannot be reached at all is left alone, twice as long each time; its queue waits
//! with it, and no message of it counts an attempt. A peer that lets us in and then breaks off, a
//! cohort of times in a row, is left alone too: else its whole queue would be tried and deferred
//! message by message.

use alloc::vec::Vec;
use core::time::Duration;

use ringpost_core::time::Time;

use super::lease::ConnectionId;
use crate::retry::with_jitter;

/// The limits of one destination on this shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Share {
    /// Connections open at once: what [`crate::home::Homes::share`] gives this shard. With 0 the
    /// shard is no home, and items leave by [`super::Schedule::rehome`].
    pub connections: u32,
    /// Items one connection carries before it is closed; at least 1.
    pub messages_per_connection: u32,
}

/// Whether a destination can be reached, as `hoststatus` says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reach {
    /// Not tried yet.
    #[default]
    Unknown,
    /// The last connection worked.
    Up,
    /// The last `failures` connections failed.
    Down {
        /// In a row; attempts made at the same time count once.
        failures: u32,
    },
}

#[derive(Debug)]
pub(super) struct Window {
    pub(super) share: Share,
    /// Connections this destination holds, whatever they do.
    open: u32,
    /// Of these, those that have been promised an item and have not yet come for it.
    pending: u32,
    /// Of these, those that wait for items; the last used is used first.
    idle: Vec<ConnectionId>,
    /// How many the peer is trusted with now, at least 1; the share limits it further.
    ceiling: u32,
    reach: Reach,
    /// Transactions in a row that the peer broke off.
    broken: u32,
    /// No connection is opened before this.
    hold: Time,
}

/// What a window would do about waiting items.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Want {
    /// Nothing: the connections there are will do, or must.
    Nothing,
    /// One more connection.
    Open,
    /// Ask again then.
    Later(Time),
}

impl Window {
    pub(super) fn new(share: Share) -> Self {
        assert!(share.messages_per_connection > 0, "a connection of nothing");
        Self {
            share,
            open: 0,
            pending: 0,
            idle: Vec::new(),
            ceiling: INITIAL_CONNECTIONS,
            reach: Reach::Unknown,
            broken: 0,
            hold: Time::ZERO,
        }
    }

    /// Other limits from now on. Connections beyond a smaller share close at their next turn.
    pub(super) fn adopt(&mut self, share: Share) {
        assert!(share.messages_per_connection > 0, "a connection of nothing");
        self.share = share;
        self.ceiling = self.ceiling.clamp(1, share.connections.max(1));
    }

    /// What `ready` waiting items, the first since `since`, ask for.
    pub(super) fn want(&self, ready: usize, since: Time, now: Time) -> Want {
        let ready = u32::try_from(ready).unwrap_or(u32::MAX);
        if ready <= self.pending || self.open >= self.ceiling.min(self.share.connections) {
            return Want::Nothing;
        }
        if now < self.hold {
            return Want::Later(self.hold);
        }
        let patience = since + PATIENCE;
        if ready > self.open.saturating_mul(ITEMS_PER_OPEN_CONNECTION) || patience <= now {
            return Want::Open;
        }
        Want::Later(patience)
    }

    pub(super) fn opened(&mut self) {
        assert!(self.open < self.share.connections, "a destination's limit is exact");
        self.open += 1;
        self.pending += 1;
    }

    /// Promises an item to an idle connection.
    pub(super) fn resume(&mut self) -> Option<ConnectionId> {
        let connection = self.idle.pop()?;
        self.promised();
        Some(connection)
    }

    /// A connection was asked to come.
    pub(super) fn promised(&mut self) {
        self.pending += 1;
        assert!(self.pending <= self.open, "only an open connection is promised an item");
    }

    /// A connection came for its item, or went instead.
    pub(super) fn came(&mut self) {
        assert!(self.pending > 0, "only who was promised an item comes for it");
        self.pending -= 1;
    }

    pub(super) fn idles(&mut self, connection: ConnectionId) {
        self.idle.push(connection);
        assert!(self.idle.len() <= self.open as usize, "an idle connection is open");
    }

    /// Whether the connection was idle until now.
    pub(super) fn unidle(&mut self, connection: ConnectionId) -> bool {
        let found = self.idle.iter().position(|&idle| idle == connection);
        found.map(|index| self.idle.remove(index)).is_some()
    }

    /// A connection has reached the peer.
    pub(super) fn reached(&mut self) {
        self.reach = Reach::Up;
        if self.broken < COHORT {
            self.hold = Time::ZERO;
            self.ceiling = self.ceiling.max(INITIAL_CONNECTIONS);
        }
    }

    /// The peer went through a transaction.
    pub(super) fn completed(&mut self) {
        self.broken = 0;
        self.ceiling = (self.ceiling + 1).min(self.share.connections.max(INITIAL_CONNECTIONS));
    }

    /// The peer broke off a transaction, or answered that it will not go on.
    pub(super) fn broke(&mut self, now: Time) {
        self.broken = self.broken.saturating_add(1);
        if self.broken >= COHORT {
            self.ceiling = 1;
            self.hold = self.hold.max(now + FIRST_HOLD);
        }
    }

    pub(super) fn closed(&mut self) {
        assert!(self.open > 0, "what closes was open");
        self.open -= 1;
    }

    /// A connection, already closed and counted so, could not reach the peer.
    pub(super) fn failed(&mut self, jitter: u64, now: Time) {
        // Others get through: the peer limits us, or one of its hosts is sick. Make do with those.
        if self.open > self.pending {
            self.ceiling = self.open;
            self.hold = now + with_jitter(FIRST_HOLD, jitter);
            return;
        }
        self.ceiling = 1;
        let failures = match self.reach {
            // Opened together with the one that failed first: the same failure.
            Reach::Down { .. } if now < self.hold => return,
            Reach::Down { failures } => failures + 1,
            Reach::Unknown | Reach::Up => 1,
        };
        self.reach = Reach::Down { failures };
        let hold = FIRST_HOLD.saturating_mul(1 << (failures - 1).min(MAX_DOUBLINGS));
        self.hold = now + with_jitter(hold.min(MAX_HOLD), jitter);
    }

    /// Forgets that the peer was down (`deliver now`).
    pub(super) fn hurry(&mut self) {
        self.hold = Time::ZERO;
        self.broken = 0;
    }

    pub(super) const fn pending(&self) -> u32 {
        self.pending
    }

    pub(super) const fn open(&self) -> u32 {
        self.open
    }

    pub(super) fn idle(&self) -> usize {
        self.idle.len()
    }

    pub(super) const fn is_over(&self) -> bool {
        self.open > self.share.connections
    }

    pub(super) const fn reach(&self) -> Reach {
        self.reach
    }
}

/// Connections to a destination nothing is known about yet.
pub const INITIAL_CONNECTIONS: u32 = 2;

/// How long a destination is left alone after its first failure; it doubles from there.
pub const FIRST_HOLD: Duration = Duration::from_secs(5);

/// The longest a destination is left alone, before jitter.
pub const MAX_HOLD: Duration = Duration::from_secs(15 * 60);

/// Ready items for each open connection that are left to those connections.
pub const ITEMS_PER_OPEN_CONNECTION: u32 = 2;

/// How long an item waits for an open connection before it may have one opened.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Transactions broken off in a row after which a destination is left alone for [`FIRST_HOLD`].
pub const COHORT: u32 = 3;

const MAX_DOUBLINGS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: u64 = 1 << 63;

    fn seconds(count: u64) -> Time {
        Time::ZERO + Duration::from_secs(count)
    }

    fn window(connections: u32) -> Window {
        Window::new(Share { connections, messages_per_connection: 20 })
    }

    #[test]
    fn it_starts_with_few_and_grows_with_success_up_to_the_share() {
        let mut window = window(4);
        let count = |window: &mut Window| {
            while window.want(1_000, Time::ZERO, Time::ZERO) == Want::Open {
                window.opened();
            }
            window.open()
        };
        assert_eq!(count(&mut window), INITIAL_CONNECTIONS);
        window.came();
        window.completed();
        assert_eq!(count(&mut window), 3);
        for _ in 0..9 {
            window.completed();
        }
        assert_eq!(count(&mut window), 4);
    }

    #[test]
    fn few_items_are_left_to_an_open_connection_for_a_second() {
        let mut window = window(10);
        window.opened();
        window.came();
        assert_eq!(window.want(2, Time::ZERO, Time::ZERO), Want::Later(seconds(1)));
        assert_eq!(window.want(2, Time::ZERO, seconds(1)), Want::Open);
        assert_eq!(window.want(3, Time::ZERO, Time::ZERO), Want::Open);
        assert_eq!(window.want(0, Time::ZERO, seconds(1)), Want::Nothing);
    }

    #[test]
    fn failures_double_the_rest_up_to_a_quarter_of_an_hour_and_success_ends_it() {
        let (mut window, mut now) = (window(10), Time::ZERO);
        for rest in [5, 10, 20, 40, 80, 160, 320, 640, 900, 900] {
            assert_eq!(window.want(9, Time::ZERO, now), Want::Open);
            window.opened();
            assert_eq!(window.want(9, Time::ZERO, now) == Want::Open, rest == 5, "one probe");
            window.came();
            window.closed();
            window.failed(MIDDLE, now);
            let hold = now + Duration::from_secs(rest);
            assert_eq!(window.want(9, Time::ZERO, now), Want::Later(hold));
            now = hold;
        }
        assert_eq!(window.reach(), Reach::Down { failures: 10 });
        window.opened();
        window.came();
        window.reached();
        assert_eq!(window.reach(), Reach::Up);
        assert_eq!(window.want(9, now, now), Want::Open);
    }

    #[test]
    fn connections_that_fail_together_count_once() {
        let mut window = window(10);
        window.opened();
        window.opened();
        for second in [0, 1] {
            window.came();
            window.closed();
            window.failed(MIDDLE, seconds(second));
        }
        assert_eq!(window.reach(), Reach::Down { failures: 1 });
        assert_eq!(window.want(1, Time::ZERO, seconds(1)), Want::Later(seconds(5)));
    }

    #[test]
    fn one_failure_among_working_connections_only_stops_growth() {
        let mut window = window(10);
        window.opened();
        window.came();
        window.reached();
        window.opened();
        window.came();
        window.closed();
        window.failed(MIDDLE, Time::ZERO);
        assert_eq!(window.reach(), Reach::Up);
        assert_eq!(window.want(100, Time::ZERO, seconds(9)), Want::Nothing);
        window.completed();
        assert_eq!(window.want(100, Time::ZERO, seconds(4)), Want::Later(seconds(5)));
        assert_eq!(window.want(100, Time::ZERO, seconds(5)), Want::Open);
    }

    #[test]
    fn a_peer_that_keeps_breaking_off_gets_one_connection_at_a_time() {
        let mut window = window(10);
        for second in [0, 0, 0, 5, 10] {
            assert_eq!(window.want(99, Time::ZERO, seconds(second)), Want::Open);
            window.opened();
            window.came();
            window.reached();
            window.broke(seconds(second));
            window.closed();
        }
        let now = seconds(10);
        assert_eq!(window.want(99, Time::ZERO, now), Want::Later(seconds(15)));
        window.opened();
        window.came();
        window.reached();
        assert_eq!(window.want(99, Time::ZERO, seconds(15)), Want::Nothing);
        window.completed();
        assert_eq!(window.want(99, Time::ZERO, seconds(15)), Want::Open);
    }
}

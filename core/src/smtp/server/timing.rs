//! When a peer has taken too long: four clocks, of which the earliest counts.

use super::{
    Limits, Server, replies,
    states::{Receiving, State, Window},
};
use crate::{
    event::{Abort, Close, Event},
    smtp::reply::Reply,
    time::Time,
};

#[derive(Debug)]
pub(super) struct Clock {
    /// What the driver last said.
    pub(super) now: Time,
    opened: Time,
    /// Since when a command is awaited, or when content last came in.
    waiting: Time,
    has_progressed: bool,
}

impl Clock {
    pub(super) const fn new(now: Time) -> Self {
        Self { now, opened: now, waiting: now, has_progressed: false }
    }

    /// A command, an answer or a greeting has brought the conversation on.
    pub(super) const fn progress(&mut self) {
        self.has_progressed = true;
    }

    /// An octet of a command line does not restart the clock: only a whole command does.
    pub(super) const fn begin_wait(&mut self) {
        if self.has_progressed {
            self.waiting = self.now;
            self.has_progressed = false;
        }
    }

    pub(super) const fn heard(&mut self) {
        self.waiting = self.now;
    }

    /// Whether 80 % of the connection's time have passed.
    pub(super) fn is_late(&self, limits: &Limits) -> bool {
        self.now >= self.opened + limits.total_timeout * 4 / 5
    }
}

impl Server {
    /// When [`Self::timed_out`] is to be called; changes with each step. [`Time::NEVER`] while the
    /// driver owes an answer.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.earliest().map_or(Time::NEVER, |(deadline, _)| deadline)
    }

    /// The deadline has passed: says 421 and closes at the next step. Does nothing before it, or
    /// if content came in fast enough.
    pub fn timed_out(&mut self, now: Time) {
        self.clock.now = now;
        if let State::Receiving(receiving) = &mut self.state
            && !is_too_slow(receiving, &self.settings.limits, now)
        {
            receiving.window.renew(&self.settings.limits, now);
        }
        let Some((_, reply)) = self.earliest().filter(|&(deadline, _)| deadline <= now) else {
            return;
        };
        let state = self.take_state();
        self.state = if matches!(state, State::StartingTls) {
            // Only TLS may be sent now.
            let reason = "timed out".into();
            self.events.push(Event::TlsFailed { icid: self.icid, reason });
            self.close(state, Abort::Receiving, Close::Closed)
        } else {
            self.hang_up(&reply, state)
        };
    }

    /// Content is being awaited from now on, if it is.
    pub(super) fn begin_window(&mut self) {
        if let State::Receiving(receiving) = &mut self.state {
            receiving.window.started.get_or_insert(self.clock.now);
        }
    }

    /// Counts octets of content; says whether the window that has just passed was too slow.
    pub(super) fn count_content(&mut self, receiving: &mut Receiving, octets: usize) -> bool {
        self.clock.heard();
        let (limits, now) = (&self.settings.limits, self.clock.now);
        if is_too_slow(receiving, limits, now) {
            return true;
        }
        receiving.window.renew(limits, now);
        receiving.window.octets += octets as u64;
        false
    }

    fn earliest(&self) -> Option<(Time, Reply)> {
        let limits = &self.settings.limits;
        let is_command = self.state.awaits_command();
        if !is_command && !self.state.awaits_content() && !matches!(self.state, State::StartingTls)
        {
            return None;
        }
        let mut earliest = (self.clock.waiting + limits.idle_timeout, replies::IDLE);
        let mut consider = |deadline, reply| {
            if deadline < earliest.0 {
                earliest = (deadline, reply);
            }
        };
        consider(self.clock.opened + limits.total_timeout, replies::TOO_OLD);
        if is_command && self.counts.messages == 0 {
            consider(self.clock.opened + limits.unsuccessful_timeout, replies::UNSUCCESSFUL);
        }
        if let State::Receiving(Receiving { window, .. }) = &self.state
            && let Some(end) = window.end(limits)
        {
            consider(end, replies::TOO_SLOW);
        }
        Some(earliest)
    }
}

impl Window {
    fn end(&self, limits: &Limits) -> Option<Time> {
        let started = self.started.filter(|_| limits.min_data_rate > 0)?;
        Some(started + limits.rate_window)
    }

    fn renew(&mut self, limits: &Limits, now: Time) {
        if self.end(limits).is_some_and(|end| end <= now) {
            *self = Self { started: Some(now), octets: 0 };
        }
    }
}

fn is_too_slow(receiving: &Receiving, limits: &Limits, now: Time) -> bool {
    let Some(end) = receiving.window.end(limits) else {
        return false;
    };
    let wanted = u64::from(limits.min_data_rate).saturating_mul(limits.rate_window.as_secs());
    end <= now && receiving.window.octets < wanted
}

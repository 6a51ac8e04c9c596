//! The tables about the machine: where it listens, looks, writes, and how long it waits.
//!
//! Each range is a limit with a reason: a value outside of it was never meant.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use crate::document::{Written, read::Table};

/// `[control]`
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) socket: Option<Written<String>>,
    pub(crate) admin: Option<Written<SocketAddr>>,
}

/// `[dns]`
#[derive(Debug, Default)]
pub(crate) struct Dns {
    pub(crate) servers: Vec<Written<SocketAddr>>,
    pub(crate) timeout: Option<Written<Duration>>,
    pub(crate) attempts: Option<Written<u32>>,
    pub(crate) cache_size: Option<Written<u32>>,
}

/// `[tls]`
#[derive(Debug, Default)]
pub(crate) struct Tls {
    pub(crate) certificate: Option<Written<String>>,
    pub(crate) private_key: Option<Written<String>>,
}

/// `[limits]`: what any one client may cost.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) max_connections: Option<Written<u32>>,
    pub(crate) max_header_size: Option<Written<u64>>,
    pub(crate) max_hops: Option<Written<u32>>,
    pub(crate) max_memory_per_message: Option<Written<u64>>,
    pub(crate) idle_timeout: Option<Written<Duration>>,
    pub(crate) max_connection_time: Option<Written<Duration>>,
    pub(crate) unsuccessful_timeout: Option<Written<Duration>>,
    pub(crate) max_errors: Option<Written<u32>>,
    pub(crate) max_idle_commands: Option<Written<u32>>,
    pub(crate) min_rate: Option<Written<u64>>,
}

/// `[bounce_profile]`
#[derive(Debug, Default)]
pub(crate) struct BounceProfile {
    pub(crate) max_retries: Option<Written<u32>>,
    pub(crate) max_time_in_queue: Option<Written<Duration>>,
    pub(crate) initial_retry: Option<Written<Duration>>,
    pub(crate) max_retry: Option<Written<Duration>>,
}

/// `[delivery]`
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) helo: Option<Written<String>>,
    pub(crate) max_connections: Option<Written<u32>>,
    pub(crate) connect_timeout: Option<Written<Duration>>,
    pub(crate) greeting_timeout: Option<Written<Duration>>,
    pub(crate) command_timeout: Option<Written<Duration>>,
    pub(crate) data_timeout: Option<Written<Duration>>,
    pub(crate) content_timeout: Option<Written<Duration>>,
    pub(crate) final_timeout: Option<Written<Duration>>,
    pub(crate) idle_timeout: Option<Written<Duration>>,
}

/// `[spool]`
#[derive(Debug, Default)]
pub(crate) struct Spool {
    pub(crate) segment_size: Option<Written<u64>>,
    pub(crate) max_size: Option<Written<u64>>,
    pub(crate) max_pending: Option<Written<u64>>,
}

/// `[logs]`
#[derive(Debug, Default)]
pub(crate) struct Logs {
    pub(crate) mail_logs: Option<Written<String>>,
}

impl Control {
    pub(super) fn read(root: &mut Table<'_>) -> Self {
        let Some(nested) = root.table("control") else {
            return Self::default();
        };
        let mut table = root.nested("[control]", nested);
        let control = Self { socket: table.text("socket"), admin: table.socket_address("admin") };
        table.finish();
        control
    }
}

impl Dns {
    pub(super) fn read(root: &mut Table<'_>) -> Self {
        let Some(nested) = root.table("dns") else {
            return Self::default();
        };
        let mut table = root.nested("[dns]", nested);
        let dns = Self {
            servers: table.socket_addresses("servers", Some(53)).unwrap_or_default(),
            timeout: table.duration("timeout", seconds(1, 60)),
            attempts: table.count("attempts", 1..=10),
            cache_size: table.count("cache_size", 1..=10_000_000),
        };
        table.finish();
        dns
    }
}

impl Tls {
    pub(super) fn read(root: &mut Table<'_>) -> Self {
        let Some(nested) = root.table("tls") else {
            return Self::default();
        };
        let mut table = root.nested("[tls]", nested);
        table.require("certificate", "leave out [tls] altogether for a self-signed certificate");
        table.require("private_key", "leave out [tls] altogether for a self-signed certificate");
        let tls =
            Self { certificate: table.text("certificate"), private_key: table.text("private_key") };
        table.finish();
        tls
    }
}

impl Limits {
    pub(super) fn read(root: &mut Table<'_>) -> Self {
        let Some(nested) = root.table("limits") else {
            return Self::default();
        };
        let mut table = root.nested("[limits]", nested);
        let limits = Self {
            max_connections: table.count("max_connections", 1..=1_000_000),
            max_header_size: table.size("max_header_size", KIB..=16 * MIB),
            max_hops: table.count("max_hops", 1..=1_000),
            max_memory_per_message: table.size("max_memory_per_message", 4 * KIB..=256 * MIB),
            idle_timeout: table.duration("idle_timeout", seconds(1, HOUR)),
            max_connection_time: table.duration("max_connection_time", seconds(1, DAY)),
            unsuccessful_timeout: table.duration("unsuccessful_timeout", seconds(1, DAY)),
            max_errors: table.count("max_errors", 1..=10_000),
            max_idle_commands: table.count("max_idle_commands", 1..=100_000),
            min_rate: table.size("min_rate", 0..=MIB),
        };
        table.finish();
        limits
    }
}

impl BounceProfile {
    pub(super) fn read(root: &mut Table<'_>) -> Self {
        let Some(nested) = root.table("bounce_profile") else {
            return Self::default();
        };
        let mut table = root.nested("[bounce_profile]", nested);
        let profile = Self {
            max_retries: table.count("max_retries", 0..=100_000),
            max_time_in_queue: table.duration("max_time_in_queue", seconds(0, 365 * DAY)),
            initial_retry: table.duration("initial_retry", seconds(1, DAY)),
            max_retry: table.duration("max_retry", seconds(1, 7 * DAY)),
        };
        table.finish();
        profile
    }
}

impl Delivery {
    pub(super) fn read(root: &mut Table<'_>) -> Self {
        let Some(nested) = root.table("delivery") else {
            return Self::default();
        };
        let mut table = root.nested("[delivery]", nested);
        let delivery = Self {
            helo: table.text("helo"),
            max_connections: table.count("max_connections", 1..=100_000),
            connect_timeout: table.duration("connect_timeout", seconds(1, HOUR)),
            greeting_timeout: table.duration("greeting_timeout", seconds(1, HOUR)),
            command_timeout: table.duration("command_timeout", seconds(1, HOUR)),
            data_timeout: table.duration("data_timeout", seconds(1, HOUR)),
            content_timeout: table.duration("content_timeout", seconds(1, HOUR)),
            final_timeout: table.duration("final_timeout", seconds(1, HOUR)),
            idle_timeout: table.duration("idle_timeout", seconds(0, HOUR)),
        };
        table.finish();
        delivery
    }
}

impl Spool {
    pub(super) fn read(root: &mut Table<'_>) -> Self {
        let Some(nested) = root.table("spool") else {
            return Self::default();
        };
        let mut table = root.nested("[spool]", nested);
        let spool = Self {
            segment_size: table.size("segment_size", MIB..=4_096 * MIB),
            max_size: table.size("max_size", 16 * MIB..=1 << 50),
            max_pending: table.size("max_pending", MIB..=16_384 * MIB),
        };
        table.finish();
        spool
    }
}

impl Logs {
    pub(super) fn read(root: &mut Table<'_>) -> Self {
        let Some(nested) = root.table("logs") else {
            return Self::default();
        };
        let mut table = root.nested("[logs]", nested);
        let logs = Self { mail_logs: table.text("mail_logs") };
        table.finish();
        logs
    }
}

const fn seconds(least: u64, most: u64) -> RangeInclusive<Duration> {
    Duration::from_secs(least)..=Duration::from_secs(most)
}

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

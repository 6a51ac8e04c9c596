//! The data plane: one shard a core, each with its own sockets, log and schedule.
//!
//! The only crate that names glommio. Machines from `core`, `policy` and `delivery` decide; the
//! drivers here move bytes and time between them and the kernel.

mod admission;
pub mod bridge;
mod clock;
mod content;
mod disk;
mod held;
mod home;
mod inbound;
mod listener;
mod mesh;
mod message;
mod neighbours;
mod outbound;
mod places;
mod queue;
mod random;
mod reclaim;
mod recovery;
mod report;
mod shard;
mod socket;
mod start;
mod tls;

pub use self::{
    recovery::{Found, recover},
    shard::Numbers,
    start::{Plan, RingRefused, Shards, StartError, probe, start},
    tls::{IdentityError, server_config},
};

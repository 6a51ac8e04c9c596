//! What mail is and how SMTP speaks it: pure machines, with no socket, file, clock or thread in
//! reach.
//!
//! `no_std` is the proof: dependencies keep their `std`, our own lines cannot touch it. Time is an
//! argument, randomness is an argument, and what must happen outside is said as data
//! ([`smtp::server::Step`], [`spool::DiskOp`]).
#![no_std]

extern crate alloc;

pub mod address;
pub mod envelope;
pub mod event;
pub mod id;
pub mod latency;
pub mod lookup;
pub mod message;
pub mod report;
pub mod smtp;
pub mod spool;
pub mod time;

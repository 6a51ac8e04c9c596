//! What may be done with a message: who may connect (HAT), who gets mail (RAT), what the message
//! filters say, under what limits.
//!
//! Pure functions of an adopted configuration, so that every shard decides alike. `no_std` keeps
//! sockets, files and clocks out of reach; the only state is [`rate`], whose table is atomics that
//! all shards share.
#![no_std]

extern crate alloc;

mod domain;
pub mod filter;
pub mod hat;
pub mod mail_flow;
pub mod rat;
pub mod rate;

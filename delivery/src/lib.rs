//! Where and when a message goes: routes, destinations, homes, the schedule, retries, outcomes and
//! the reports about them.
//!
//! Machines and pure functions, so that one seeded simulation can drive what production drives:
//! time and randomness are arguments, a name is looked up by returning a question.
#![no_std]

extern crate alloc;

pub mod bounce;
pub mod destination;
pub mod domain;
pub mod home;
pub mod outcome;
pub mod retry;
pub mod route;
pub mod schedule;
pub mod tls_policy;

//! The parts that the load tools `source`, `sink` and `compare` are made of. They are a library
//! so that every pure piece (messages, schedules, replies, tables) is tested without a socket.

#![forbid(unsafe_code)]

pub mod compare;
pub mod date;
pub mod latency;
pub mod message;
pub mod sink;
pub mod size;
pub mod source;
pub mod token;
pub mod token_file;

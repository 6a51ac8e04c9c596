//! The sink: plays the next hop that a server relays to. It accepts, delays, refuses or vanishes
//! as it is told, and accounts for every message by its token.

mod arrivals;
mod behaviour;
mod chance;
mod command;
mod end_of_data;
mod keep;
mod listen;
mod options;
mod reception;

pub use arrivals::{Arrivals, SinkReport};
pub use end_of_data::EndOfData;
pub use listen::run;
pub use options::Options;

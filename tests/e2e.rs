//! The built binary end to end: real clients, real next hops, a real DNS server, real kills.
//!
//! Run by `tests/run`, which installs the peers and builds the tools, one test at a time:
//! `cargo test --release --test e2e -- --test-threads=1`. Everything stays on loopback.

#[path = "e2e/conversation.rs"]
mod conversation;
#[path = "e2e/deliver.rs"]
mod deliver;
#[path = "e2e/directory.rs"]
mod directory;
#[path = "e2e/dns.rs"]
mod dns;
#[path = "e2e/durability.rs"]
mod durability;
#[path = "e2e/gateway.rs"]
mod gateway;
#[path = "e2e/names.rs"]
mod names;
#[path = "e2e/operator.rs"]
mod operator;
#[path = "e2e/patience.rs"]
mod patience;
#[path = "e2e/policy.rs"]
mod policy;
#[path = "e2e/postfix.rs"]
mod postfix;
#[path = "e2e/process.rs"]
mod process;
#[path = "e2e/receive.rs"]
mod receive;
#[path = "e2e/reports.rs"]
mod reports;
#[path = "e2e/sink.rs"]
mod sink;
#[path = "e2e/tls.rs"]
mod tls;

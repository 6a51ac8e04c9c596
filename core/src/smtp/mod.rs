//! SMTP (RFC 5321) from both sides, as machines: bytes in, bytes and decisions out.

pub mod body;
pub mod client;
pub mod command;
pub mod extension;
pub mod line;
pub mod replies;
pub mod reply;
pub mod server;

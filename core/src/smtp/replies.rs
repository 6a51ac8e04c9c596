//! Replies that a decision outside the conversation leads to, so that no driver writes any text.

use crate::{event::Status, smtp::reply::Reply};

/// The client has as many connections as its mail flow policy allows.
pub const TOO_MANY_FROM_CLIENT: Reply =
    Reply::new(421, Status::new(4, 4, 5), "Too many connections from your host");

/// The listener, or the gateway, has as many connections as it may.
pub const TOO_MANY_CONNECTIONS: Reply =
    Reply::new(421, Status::new(4, 4, 5), "Too many connections, try again later");

/// The gateway takes no new mail because it is about to stop.
pub const SHUTTING_DOWN: Reply =
    Reply::new(421, Status::new(4, 3, 2), "Shutting down, try again later");

/// The RAT says no and has no text of its own.
pub const ADDRESS_REJECTED: Reply = Reply::new(550, Status::new(5, 1, 1), "Address rejected");

/// The RAT says no, but the client might be one that may relay: its name could not be looked up.
pub const NAME_UNAVAILABLE: Reply =
    Reply::new(451, Status::new(4, 4, 3), "Your host's name cannot be looked up, try again later");

/// The disk, or the part of it we may use, is full (RFC 3463 X.3.1).
pub const SPOOL_FULL: Reply =
    Reply::new(452, Status::new(4, 3, 1), "Insufficient system storage, try again later");

/// The disk failed: the message may not be durable, so it was not accepted.
pub const SPOOL_FAILED: Reply =
    Reply::new(451, Status::new(4, 3, 0), "The message could not be stored, try again later");

/// As many messages wait as may.
pub const QUEUE_FULL: Reply =
    Reply::new(452, Status::new(4, 3, 1), "Too many messages are waiting, try again later");

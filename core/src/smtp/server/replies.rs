//! What the server says, in one place: each text is a constant, so none repeats a peer's octets.

use crate::{event::Status, smtp::reply::Reply};

pub(super) const BYE: Reply = Reply::new(221, Status::new(2, 0, 0), "closing connection");
pub(super) const OK: Reply = Reply::new(250, Status::new(2, 0, 0), "ok");
pub(super) const CANNOT_VERIFY: Reply =
    Reply::new(252, Status::new(2, 5, 2), "send some mail, and it will be tried");
pub(super) const HELP: Reply = Reply::new(
    214,
    Status::new(2, 0, 0),
    "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS",
);
pub(super) const START_TLS: Reply = Reply::new(220, Status::new(2, 0, 0), "ready to start TLS");

//= RFC 2034 4: no enhanced status code in 3yz replies.
pub(super) const GO_AHEAD: Reply =
    Reply { code: 354, status: None, text: alloc::borrow::Cow::Borrowed("go ahead") };

pub(super) const NOT_SYNCHRONIZED: Reply =
    Reply::new(554, Status::new(5, 5, 0), "protocol synchronization: input before our reply");
pub(super) const LINE_TOO_LONG: Reply = Reply::new(500, Status::new(5, 5, 2), "line too long");
pub(super) const BARE_IN_COMMAND: Reply =
    Reply::new(500, Status::new(5, 5, 2), "bare CR, bare LF or NUL in a command");
pub(super) const CHUNK_LOST: Reply =
    Reply::new(501, Status::new(5, 5, 4), "malformed BDAT; closing, for framing is lost");

pub(super) const EHLO_FIRST: Reply = Reply::new(503, Status::new(5, 5, 1), "say EHLO first");
pub(super) const MAIL_FIRST: Reply = Reply::new(503, Status::new(5, 5, 1), "MAIL first");
pub(super) const RCPT_FIRST: Reply = Reply::new(503, Status::new(5, 5, 1), "RCPT first");
pub(super) const NESTED_MAIL: Reply =
    Reply::new(503, Status::new(5, 5, 1), "a transaction is already open");
pub(super) const IN_CHUNKS: Reply =
    Reply::new(503, Status::new(5, 5, 1), "BDAT or RSET is expected");
pub(super) const IN_TRANSACTION: Reply =
    Reply::new(503, Status::new(5, 5, 1), "not within a transaction");
pub(super) const TLS_IS_UP: Reply = Reply::new(503, Status::new(5, 5, 1), "TLS is already up");
pub(super) const NO_TLS: Reply = Reply::new(502, Status::new(5, 5, 1), "STARTTLS is not offered");
pub(super) const NO_EXPN: Reply = Reply::new(502, Status::new(5, 5, 1), "EXPN is not available");
pub(super) const NOT_EXTENDED: Reply =
    Reply::new(555, Status::new(5, 5, 4), "parameters and BDAT need EHLO");
pub(super) const TLS_FIRST: Reply = Reply::new(530, Status::new(5, 7, 0), "STARTTLS first");
pub(super) const NO_VALID_RECIPIENTS: Reply =
    Reply::new(554, Status::new(5, 5, 1), "no valid recipients");
pub(super) const TOO_MANY_RECIPIENTS: Reply =
    Reply::new(452, Status::new(4, 5, 3), "too many recipients");
pub(super) const TOO_MANY_MESSAGES: Reply =
    Reply::new(421, Status::new(4, 7, 0), "too many messages in this connection");
pub(super) const TOO_OLD: Reply =
    Reply::new(421, Status::new(4, 4, 2), "connection has lasted too long");
pub(super) const TOO_MANY_ERRORS: Reply = Reply::new(421, Status::new(4, 7, 0), "too many errors");
pub(super) const TOO_MUCH_JUNK: Reply =
    Reply::new(421, Status::new(4, 7, 0), "too many commands without a message");
pub(super) const DRAINING: Reply = Reply::new(421, Status::new(4, 3, 2), "shutting down");

pub(super) const IDLE: Reply = Reply::new(421, Status::new(4, 4, 2), "idle for too long");
pub(super) const UNSUCCESSFUL: Reply =
    Reply::new(421, Status::new(4, 4, 2), "no message accepted for too long");
pub(super) const TOO_SLOW: Reply = Reply::new(421, Status::new(4, 4, 2), "content is too slow");

pub(super) const TOO_LARGE: Reply =
    Reply::new(552, Status::new(5, 3, 4), "message size exceeds limit");
pub(super) const HEADER_TOO_LARGE: Reply =
    Reply::new(552, Status::new(5, 3, 4), "header size exceeds limit");
pub(super) const TOO_MANY_HOPS: Reply =
    Reply::new(554, Status::new(5, 4, 6), "too many hops; this looks like a mail loop");
pub(super) const CONTENT_LINE_TOO_LONG: Reply =
    Reply::new(550, Status::new(5, 6, 0), "line of content too long");
pub(super) const BARE_IN_CONTENT: Reply =
    Reply::new(550, Status::new(5, 6, 11), "bare CR, bare LF or NUL in content");
pub(super) const NO_STORAGE: Reply =
    Reply::new(452, Status::new(4, 3, 1), "insufficient storage, try later");

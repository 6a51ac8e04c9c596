//! The machine's side: names, files, timeouts, the spool.
//!
//! Every default is written here or in the type it belongs to, once, and in the reference.

use std::{path::Path, sync::Arc, time::Duration};

use ringpost_delivery::retry::BounceProfile;

use super::{
    Resolver,
    policies::{Policies, set},
};
use crate::{
    diagnostic::Code,
    document::{self, Document, Written},
    quantity::spell,
    snapshot::{Control, Delivery, Dns, Limits, Logs, MailLogs, Spool, Tls, Workers},
};

impl Resolver<'_> {
    pub(super) fn hostname(&mut self, document: &Document) -> Arc<str> {
        let hostname = self.domain_name(document.hostname.as_ref());
        hostname.unwrap_or_else(|| "localhost".into())
    }

    pub(super) fn control(&mut self, written: &document::Control, data_dir: &Path) -> Control {
        let socket = match &written.socket {
            Some(socket) => self.path_or(Some(socket), ""),
            None => Control::default_socket(data_dir),
        };
        if let Some(Written { span, .. }) = &written.socket
            && socket.as_os_str().len() > MAX_SOCKET_PATH
        {
            let message = format!("the path of a socket has at most {MAX_SOCKET_PATH} octets");
            self.report.error(&self.source, span, Code::BadValue, message);
        }
        Control { socket, admin: written.admin.as_ref().map(|admin| admin.value) }
    }

    pub(super) fn tls(&mut self, written: &document::Tls) -> Tls {
        let certificate = written.certificate.as_ref();
        let certificate =
            certificate.and_then(|file| self.pem(file, "CERTIFICATE-----", "a certificate"));
        let private_key = written.private_key.as_ref();
        let private_key =
            private_key.and_then(|file| self.pem(file, "PRIVATE KEY-----", "a private key"));
        match (certificate, private_key) {
            (Some(certificate), Some(private_key)) => Tls::Files { certificate, private_key },
            _ => Tls::SelfSigned,
        }
    }

    fn pem(
        &mut self,
        written: &Written<String>,
        label: &str,
        noun: &str,
    ) -> Option<std::path::PathBuf> {
        let (path, text) = self.file(written)?;
        let mut begins = text.lines().filter(|line| line.starts_with("-----BEGIN "));
        if begins.any(|line| line.trim_end().ends_with(label)) {
            return Some(path);
        }
        let message = format!("{} holds no {noun} in PEM form", path.display(), noun = bare(noun));
        self.report.error(&self.source, &written.span, Code::UnreadableFile, message).help(format!(
            "{noun} in PEM form has a line \"-----BEGIN ... {label}\"; PKCS#12 files have to be \
             converted"
        ));
        None
    }

    pub(super) fn limits(&mut self, written: &document::Limits) -> Limits {
        let mut limits = Limits::default();
        set(&mut limits.max_connections, written.max_connections.as_ref());
        set_size(&mut limits.max_header_size, written.max_header_size.as_ref());
        set(&mut limits.max_hops, written.max_hops.as_ref());
        set_size(&mut limits.max_memory_per_message, written.max_memory_per_message.as_ref());
        set(&mut limits.idle_timeout, written.idle_timeout.as_ref());
        set(&mut limits.max_connection_time, written.max_connection_time.as_ref());
        set(&mut limits.unsuccessful_timeout, written.unsuccessful_timeout.as_ref());
        set(&mut limits.max_errors, written.max_errors.as_ref());
        set(&mut limits.max_idle_commands, written.max_idle_commands.as_ref());
        set_size(&mut limits.min_rate, written.min_rate.as_ref());
        if limits.idle_timeout > limits.max_connection_time {
            let written = written.idle_timeout.as_ref().or(written.max_connection_time.as_ref());
            let span = written.map_or(0..0, |written| written.span.clone());
            let message = "idle_timeout is longer than max_connection_time and can never pass";
            self.report.error(&self.source, &span, Code::Contradiction, message).help(format!(
                "idle_timeout is {}, max_connection_time {}",
                spell(limits.idle_timeout),
                spell(limits.max_connection_time)
            ));
        }
        limits
    }

    pub(super) fn bounce_profile(&mut self, written: &document::BounceProfile) -> BounceProfile {
        let mut profile = BounceProfile::default();
        set(&mut profile.max_retries, written.max_retries.as_ref());
        set(&mut profile.max_time_in_queue, written.max_time_in_queue.as_ref());
        set(&mut profile.initial_retry, written.initial_retry.as_ref());
        set(&mut profile.max_retry, written.max_retry.as_ref());
        if profile.initial_retry > profile.max_retry {
            let written = written.initial_retry.as_ref().or(written.max_retry.as_ref());
            let span = written.map_or(0..0, |written| written.span.clone());
            let message = "initial_retry is longer than max_retry";
            self.report.error(&self.source, &span, Code::Contradiction, message).help(format!(
                "waits grow from initial_retry, now {}, up to max_retry, now {}",
                spell(profile.initial_retry),
                spell(profile.max_retry)
            ));
        }
        profile
    }

    pub(super) fn delivery(
        &mut self,
        written: &document::Delivery,
        hostname: &Arc<str>,
    ) -> Delivery {
        let helo = self.domain_name(written.helo.as_ref());
        let mut delivery = Delivery {
            helo: helo.unwrap_or_else(|| Arc::clone(hostname)),
            max_connections: 10_000,
            connect_timeout: Duration::from_secs(30),
            greeting_timeout: minutes(5),
            command_timeout: minutes(5),
            data_timeout: minutes(2),
            content_timeout: minutes(3),
            final_timeout: minutes(10),
            idle_timeout: Duration::from_secs(5),
        };
        set(&mut delivery.max_connections, written.max_connections.as_ref());
        set(&mut delivery.connect_timeout, written.connect_timeout.as_ref());
        set(&mut delivery.greeting_timeout, written.greeting_timeout.as_ref());
        set(&mut delivery.command_timeout, written.command_timeout.as_ref());
        set(&mut delivery.data_timeout, written.data_timeout.as_ref());
        set(&mut delivery.content_timeout, written.content_timeout.as_ref());
        set(&mut delivery.final_timeout, written.final_timeout.as_ref());
        set(&mut delivery.idle_timeout, written.idle_timeout.as_ref());
        delivery
    }

    pub(super) fn spool(&mut self, written: &document::Spool, policies: &Policies) -> Spool {
        let mut spool = Spool::default();
        set(&mut spool.segment_size, written.segment_size.as_ref());
        set(&mut spool.max_size, written.max_size.as_ref());
        set(&mut spool.max_pending, written.max_pending.as_ref());
        let largest = policies.values().map(|policy| policy.max_message_size).max();
        let needed = largest.unwrap_or_default().max(spool.segment_size.saturating_mul(2));
        if spool.max_size < needed {
            let written = written.max_size.as_ref().or(written.segment_size.as_ref());
            let span = written.map_or(0..0, |written| written.span.clone());
            let message = "the spool is too small for two segments, or for the largest message";
            let help = format!("max_size is {}, but {needed} octets are needed", spool.max_size);
            self.report.error(&self.source, &span, Code::Contradiction, message).help(help);
        }
        spool
    }

    pub(super) fn logs(&mut self, written: &document::Logs) -> Logs {
        let mail_logs = match &written.mail_logs {
            None => MailLogs::Stdout,
            Some(text) if text.value == "stdout" => MailLogs::Stdout,
            Some(text) => MailLogs::File(self.path_or(Some(text), "")),
        };
        Logs { mail_logs }
    }
}

pub(super) fn workers(document: &Document) -> Workers {
    match &document.workers {
        Some(workers) => {
            Workers::Exactly(u16::try_from(workers.value).expect("the document bounds workers"))
        }
        None => Workers::OnePerCore,
    }
}

pub(super) fn dns(written: &document::Dns) -> Dns {
    let mut dns = Dns {
        servers: written.servers.iter().map(|server| server.value).collect(),
        timeout: Duration::from_secs(5),
        attempts: 2,
        cache_size: 10_000,
    };
    set(&mut dns.timeout, written.timeout.as_ref());
    set(&mut dns.attempts, written.attempts.as_ref());
    set(&mut dns.cache_size, written.cache_size.as_ref());
    dns
}

fn set_size(target: &mut u32, written: Option<&Written<u64>>) {
    if let Some(written) = written {
        *target = u32::try_from(written.value).expect("the document bounds sizes held in memory");
    }
}

fn bare(noun: &str) -> &str {
    noun.strip_prefix("a ").unwrap_or(noun)
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// What `sockaddr_un` holds on Linux, less its final zero.
const MAX_SOCKET_PATH: usize = 107;

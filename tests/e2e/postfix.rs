//! Postfix as a peer: its load tools, and a whole instance apart from the system's.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::PathBuf,
    process::Command,
};

use crate::{
    directory::Directory,
    patience::{seconds, until},
    process::{Process, free_port, output, succeed, wait_for_port},
};

/// `smtp-sink` that writes each transaction to a file of its own, envelope and all.
pub(crate) struct SmtpSink {
    _process: Process,
    folder: PathBuf,
    pub(crate) port: u16,
}

impl SmtpSink {
    pub(crate) fn start(directory: &Directory, arguments: &[&str]) -> Self {
        let port = free_port();
        let folder = directory.folder("smtp-sink");
        let mut command = Command::new("/usr/sbin/smtp-sink");
        // It will not run as root without saying as whom.
        if crate::process::is_root() {
            command.args(["-u", "postfix"]);
            let mode = fs::Permissions::from_mode(0o777);
            fs::set_permissions(&folder, mode).expect("the folder is ours");
        }
        command.arg("-d").arg(folder.join("%s.")).args(arguments);
        command.args([&format!("127.0.0.1:{port}"), "1000"]);
        let process = Process::start("smtp-sink", &mut command, directory);
        wait_for_port(port, "smtp-sink listens");
        Self { _process: process, folder, port }
    }

    /// What has come, each with its envelope in front (`X-Mail-Args`, `X-Rcpt-Args`).
    pub(crate) fn transactions(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).expect("the folder is ours");
        let contents = entries.filter_map(|entry| fs::read(entry.expect("an entry").path()).ok());
        contents.map(|it| String::from_utf8_lossy(&it).into_owned()).collect()
    }
}

/// `smtp-source`, which must succeed.
pub(crate) fn smtp_source(port: u16, arguments: &[&str]) {
    let server = format!("127.0.0.1:{port}");
    succeed(Command::new("/usr/sbin/smtp-source").args(arguments).arg(server));
}

/// A whole Postfix that takes mail for `remote.example` into Maildirs.
pub(crate) struct Postfix {
    process: Process,
    configuration: PathBuf,
    mailboxes: PathBuf,
    log: PathBuf,
    pub(crate) port: u16,
}

impl Postfix {
    pub(crate) fn start(directory: &Directory) -> Self {
        let port = free_port();
        let configuration = directory.folder("postfix/etc");
        let (uid, gid) = postfix_user();
        directory.folder("postfix/queue");
        let state = directory.folder("postfix/data");
        let mailboxes = directory.folder("postfix/mail");
        for folder in [&state, &mailboxes] {
            chown(folder, Some(uid), Some(gid)).expect("root may");
        }
        let root = directory.join("postfix");
        let main = MAIN_CF
            .replace("DIRECTORY", &root.display().to_string())
            .replace("UID", &uid.to_string())
            .replace("GID", &gid.to_string());
        directory.write("postfix/etc/main.cf", main);
        let master = MASTER_CF.replace("PORT", &port.to_string());
        directory.write("postfix/etc/master.cf", master);
        let mut command = Command::new("/usr/sbin/postfix");
        command.arg("-c").arg(&configuration).arg("start-fg");
        let process = Process::start("postfix", &mut command, directory);
        wait_for_port(port, "Postfix listens");
        Self { process, configuration, mailboxes, log: root.join("mail.log"), port }
    }

    /// The messages of its only mailbox, once there are so many.
    pub(crate) fn mailbox(&self, count: usize) -> Vec<Vec<u8>> {
        let folder = self.mailboxes.join("b").join("new");
        let paths = until(seconds(30), "mail in the mailbox", || {
            let entries = fs::read_dir(&folder).ok()?;
            let paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
            (paths.len() >= count).then_some(paths)
        });
        paths.iter().map(|path| fs::read(path).expect("Postfix wrote it whole")).collect()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // The master ends its children; killed, it would leave them behind.
        output(Command::new("/usr/sbin/postfix").arg("-c").arg(&self.configuration).arg("stop"));
        self.process.terminate();
    }
}

fn postfix_user() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").expect("every Unix has one");
    let entry = passwd.lines().find_map(|line| line.strip_prefix("postfix:"));
    let mut fields = entry.expect("Postfix is installed").split(':').skip(1);
    let mut number = || fields.next().and_then(|it| it.parse().ok()).expect("a number");
    (number(), number())
}

const MAIN_CF: &str = "\
compatibility_level = 3.6
queue_directory = DIRECTORY/queue
data_directory = DIRECTORY/data
maillog_file = DIRECTORY/mail.log
maillog_file_prefixes = DIRECTORY
myhostname = postfix.example
inet_interfaces = loopback-only
local_header_rewrite_clients =
inet_protocols = ipv4
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = reject_unauth_destination
disable_dns_lookups = yes
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
message_size_limit = 134217728
mailbox_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = remote.example, sender.example
virtual_mailbox_base = DIRECTORY/mail
virtual_mailbox_maps = static:b/
virtual_uid_maps = static:UID
virtual_gid_maps = static:GID
virtual_minimum_uid = 1
";

const MASTER_CF: &str = "\
127.0.0.1:PORT inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

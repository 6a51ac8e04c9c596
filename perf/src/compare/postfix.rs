//! Debian's Postfix as an instance of its own: its configuration, queue, log and processes are
//! apart from those of the system, and nothing of the system's is changed.
//!
//! It is set up as an expert would who wants throughput, and still as safe as by default: the
//! queue is synced to disk, logging is on, and what slows it without making it safer is off.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use super::plan::Plan;
use super::programs::Program;

/// Why Postfix cannot be measured here, if so.
pub fn obstacle() -> Option<String> {
    if !Path::new(MASTER).exists() {
        return Some("Postfix is not installed (Debian: `apt install postfix`)".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("Postfix starts only as root: run `compare` as root".to_owned());
    }
    None
}

/// The version, for people.
pub fn version() -> io::Result<String> {
    let output = Command::new(POSTCONF).args(["-dh", "mail_version"]).output()?;
    Ok(format!("Postfix {}", String::from_utf8_lossy(&output.stdout).trim()))
}

/// Writes the configuration below an absolute directory and starts the instance.
pub fn start(plan: &Plan, directory: &Path, port: u16, sink_port: u16) -> io::Result<Program> {
    let configuration = directory.join("etc");
    let data = directory.join("data");
    for made in [&configuration, &data, &directory.join("queue")] {
        fs::create_dir_all(made)?;
    }
    give_to_postfix(&data)?;
    fs::write(configuration.join("main.cf"), main_cf(plan, directory, sink_port))?;
    fs::write(configuration.join("master.cf"), master_cf(plan, port))?;
    let mut command = Command::new(POSTFIX);
    command.arg("-c").arg(&configuration).arg("start-fg");
    Program::start("postfix", &mut command, directory)
}

fn give_to_postfix(directory: &Path) -> io::Result<()> {
    let passwd = fs::read_to_string("/etc/passwd")?;
    let entry = passwd.lines().find_map(|line| line.strip_prefix("postfix:"));
    let uid = entry.and_then(|rest| rest.split(':').nth(1)).and_then(|uid| uid.parse().ok());
    let uid: u32 = uid.ok_or_else(|| io::Error::other("there is no user `postfix`"))?;
    std::os::unix::fs::chown(directory, Some(uid), None)
}

fn main_cf(plan: &Plan, directory: &Path, sink_port: u16) -> String {
    let directory = directory.display();
    let limit = plan.destination_connections;
    let reuse = plan.messages_per_connection;
    let own = plan.postfix_setting.join("\n");
    format!(
        "\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/mail.log
maillog_file_prefixes = {directory}
myhostname = postfix.perf.example
inet_interfaces = loopback-only
inet_protocols = ipv4
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:{sink_port}
message_size_limit = 134217728
mailbox_size_limit = 0
biff = no

# No look-ups: names are not what is measured.
disable_dns_lookups = yes
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtputf8_enable = no

# The plan's limits, and none of those which guard against strangers.
default_destination_concurrency_limit = {limit}
smtp_destination_concurrency_limit = {limit}
initial_destination_concurrency = {limit}
smtp_connection_reuse_count_limit = {reuse}
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_recipient_rate_limit = 0

# By default Postfix pauses clients when more comes in than goes out; without the pause it
# accepts faster.
in_flow_delay = 0
{own}
"
    )
}

fn master_cf(plan: &Plan, port: u16) -> String {
    let smtpd_max = plan.connections + 10;
    let smtp_max = plan.destination_connections + 10;
    // smtpd and smtp have room for the plan's connections; the rest is Debian's, not chrooted.
    format!(
        "\
127.0.0.1:{port} inet n - n - {smtpd_max} smtpd
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
smtp unix - - n - {smtp_max} smtp
relay unix - - n - {smtp_max} smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    )
}

const MASTER: &str = "/usr/lib/postfix/sbin/master";
const POSTFIX: &str = "/usr/sbin/postfix";
const POSTCONF: &str = "/usr/sbin/postconf";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn the_configuration_follows_the_plan() {
        let arguments = ["compare", "--connections", "70", "--destination-connections", "7"];
        let settings = ["--postfix-setting", "in_flow_delay = 1s"];
        let plan = Plan::try_parse_from(arguments.iter().chain(&settings));
        let plan = plan.expect("the arguments are right");
        let main = main_cf(&plan, Path::new("/data/x"), 2526);
        assert!(main.contains("\nrelayhost = [127.0.0.1]:2526\n"));
        assert!(main.contains("\nsmtp_destination_concurrency_limit = 7\n"));
        assert!(main.ends_with("\nin_flow_delay = 1s\n"), "the last setting of a name holds");
        assert!(master_cf(&plan, 2525).starts_with("127.0.0.1:2525 inet n - n - 80 smtpd\n"));
    }
}

//! What the processes of a server use, read from /proc.
//!
//! CPU time is the sum of utime, stime, cutime and cstime over the server's first process and
//! all its living descendants. When a process ends and is reaped, the kernel adds its times, and
//! those of the children it had reaped, to its parent's cutime and cstime; so a process that
//! came and went between two readings is still counted, once, and the difference of two
//! readings is what the server used in between. This matters for Postfix, whose master starts
//! and reaps processes all the time. The kernel counts in ticks (10 ms on most machines) for
//! each process, so a difference is exact only to a tick for each process alive.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};

/// The fields of /proc/PID/stat that are needed here (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    pub pid: u32,
    pub parent: u32,
    /// Ticks of the process itself, user and system.
    pub own_ticks: u64,
    /// Ticks of its children that have ended and been reaped.
    pub reaped_ticks: u64,
    pub resident_pages: u64,
}

impl ProcessStat {
    /// Reads one line. The second field is the program's name in parentheses, which may itself
    /// hold parentheses and spaces, so fields are counted from the last closing one.
    pub fn parse(line: &str) -> Option<Self> {
        let (head, tail) = line.rsplit_once(')')?;
        let pid = head.split(' ').next()?.parse().ok()?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        // The field after the name is the third of the manual.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            pid,
            parent: u32::try_from(field(4)?).ok()?,
            own_ticks: field(14)? + field(15)?,
            reaped_ticks: field(16)? + field(17)?,
            resident_pages: field(24)?,
        })
    }

    fn ticks(&self) -> u64 {
        self.own_ticks + self.reaped_ticks
    }
}

/// What a process and its descendants use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu: Duration,
    pub processes: usize,
    /// Resident memory summed over the processes: what they share is counted for each.
    pub resident_bytes: u64,
}

/// Reads the usage of a process and its descendants now.
pub fn usage(root: u32) -> io::Result<Usage> {
    let tree = tree(&all_processes()?, root);
    let ticks: u64 = tree.iter().map(ProcessStat::ticks).sum();
    let pages: u64 = tree.iter().map(|process| process.resident_pages).sum();
    Ok(Usage {
        cpu: duration(ticks),
        processes: tree.len(),
        resident_bytes: pages * page_size() as u64,
    })
}

/// A process and its descendants, by their ids.
pub fn pids(root: u32) -> io::Result<Vec<u32>> {
    Ok(tree(&all_processes()?, root).iter().map(|process| process.pid).collect())
}

/// Whether a process runs: one that has ended and waits to be reaped does not.
pub fn is_alive(pid: u32) -> bool {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    line.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
}

/// CPU time of the children this process has reaped, and of their reaped children.
pub fn reaped_cpu() -> io::Result<Duration> {
    let line = fs::read_to_string("/proc/self/stat")?;
    let own = ProcessStat::parse(&line).ok_or(io::ErrorKind::InvalidData)?;
    Ok(duration(own.reaped_ticks))
}

/// Proportional memory of a process and its descendants: each shared page is divided among those
/// who share it. None when the kernel does not tell, which is so for another user's processes.
pub fn proportional_bytes(root: u32) -> io::Result<Option<u64>> {
    let mut sum = 0;
    for process in tree(&all_processes()?, root) {
        match fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid)) {
            Ok(rollup) => sum += parse_pss(&rollup).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            // It has ended since the list was made.
            Err(_) => {}
        }
    }
    Ok(Some(sum))
}

fn parse_pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn all_processes() -> io::Result<Vec<ProcessStat>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let is_process = name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
        if !is_process {
            continue;
        }
        // One that has ended since the directory was read is no error.
        let path = std::path::Path::new("/proc").join(name).join("stat");
        processes.extend(fs::read_to_string(path).ok().as_deref().and_then(ProcessStat::parse));
    }
    Ok(processes)
}

/// A process and its descendants.
fn tree(all: &[ProcessStat], root: u32) -> Vec<ProcessStat> {
    let mut children: HashMap<u32, Vec<&ProcessStat>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(process);
    }
    let mut tree: Vec<ProcessStat> =
        all.iter().filter(|process| process.pid == root).copied().collect();
    let mut next = 0;
    while let Some(process) = tree.get(next) {
        next += 1;
        let of_process = children.remove(&process.pid).unwrap_or_default();
        tree.extend(of_process);
    }
    tree
}

fn duration(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "77 (a) (b c) S 42 77 77 0 -1 4194560 10 20 0 0 100 23 7 5 20 0 1 0 9 \
        8192000 250 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0";

    #[test]
    fn reads_a_stat_line_whose_name_has_parentheses() {
        let expected = ProcessStat {
            pid: 77,
            parent: 42,
            own_ticks: 123,
            reaped_ticks: 12,
            resident_pages: 250,
        };
        assert_eq!(ProcessStat::parse(LINE), Some(expected));
        assert_eq!(ProcessStat::parse("77 (a) S 42"), None);
        assert_eq!(ProcessStat::parse(""), None);
    }

    #[test]
    fn a_tree_has_all_descendants_and_no_one_else() {
        let process = |pid, parent| ProcessStat {
            pid,
            parent,
            own_ticks: 1,
            reaped_ticks: 0,
            resident_pages: 1,
        };
        let all = [process(5, 4), process(2, 1), process(3, 2), process(4, 3), process(9, 1)];
        let mut pids: Vec<u32> = tree(&all, 2).iter().map(|process| process.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [2, 3, 4, 5]);
        assert!(tree(&all, 99).is_empty());
    }

    #[test]
    fn reads_proportional_memory() {
        assert_eq!(parse_pss("0-1 r [rollup]\nRss:   5 kB\nPss:   1234 kB\n"), Some(1234 * 1024));
        assert_eq!(parse_pss("Rss: 5 kB\n"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = usage(std::process::id()).expect("/proc is there");
        assert!(usage.processes >= 1 && usage.resident_bytes > 0);
    }
}

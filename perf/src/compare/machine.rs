//! The machine a comparison ran on: numbers without it mean nothing.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What a reader needs to know to judge the numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory: String,
    pub kernel: String,
    /// Of the data directory.
    pub filesystem: String,
}

impl Machine {
    /// Describes this machine and the file system of a directory.
    pub fn describe(directory: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        let unknown = || "unknown".to_owned();
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: field(&read("/proc/meminfo"), "MemTotal").map_or_else(unknown, in_gib),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            filesystem: filesystem(&read("/proc/self/mountinfo"), &directory)
                .unwrap_or_else(unknown),
        }
    }

    /// A line for people.
    pub fn line(&self) -> String {
        let Self { processor, cores, memory, kernel, filesystem } = self;
        format!("{processor}, {cores} cores, {memory}, Linux {kernel}, {filesystem}")
    }
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

fn in_gib(kib: String) -> String {
    let number = kib.split(' ').next().and_then(|number| number.parse::<f64>().ok());
    number.map_or(kib, |kib| format!("{:.1} GiB", kib / 1024.0 / 1024.0))
}

/// Type, device and options of the deepest mount above a path (proc_pid_mountinfo(5)).
fn filesystem(mountinfo: &str, path: &Path) -> Option<String> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split(' ').nth(4)?;
        let options = left.split(' ').nth(5)?;
        let mut right = right.split(' ');
        let (kind, device) = (right.next()?, right.next()?);
        path.starts_with(point).then(|| (point.len(), format!("{kind} on {device} ({options})")))
    });
    // Of two mounts at one point the later hides the earlier, and `max_by_key` takes the last.
    mounts.max_by_key(|(depth, _)| *depth).map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_deepest_mount() {
        let mountinfo = "\
1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
2 1 0:5 / /tmp rw,nosuid - tmpfs tmpfs rw
3 1 8:2 / /data rw,noatime - xfs /dev/sdb1 rw
";
        let of = |path| filesystem(mountinfo, Path::new(path));
        assert_eq!(of("/data/queue"), Some("xfs on /dev/sdb1 (rw,noatime)".to_owned()));
        assert_eq!(of("/tmp"), Some("tmpfs on tmpfs (rw,nosuid)".to_owned()));
        assert_eq!(of("/database"), Some("ext4 on /dev/sda1 (rw,relatime)".to_owned()));
    }

    #[test]
    fn reads_fields_of_proc() {
        let text = "processor\t: 0\nmodel name\t: Some CPU\nMemTotal:   2097152 kB\n";
        assert_eq!(field(text, "model name"), Some("Some CPU".to_owned()));
        assert_eq!(field(text, "MemTotal").map(in_gib), Some("2.0 GiB".to_owned()));
        assert_eq!(field(text, "model"), None);
    }
}

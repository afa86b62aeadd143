//! Control groups that limit CPU: of version 2, or of version 1 with its controller `cpu`. Responsible for making and
//! removing them; who goes into them is the measurement's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Where they are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// In microseconds. Shorter than the usual 100,000: with these a tier that is out of its share would stand still for up to a
/// tenth of a second, and tiers that wait for each other would do so in turn.
const PERIOD_US: f64 = 10_000.0;
/// The least that the kernel takes, in microseconds.
const LEAST_US: f64 = 1_000.0;
/// How often the removal of a group is tried: what was in it may still be ending.
const REMOVALS: u32 = 50;

/// A control group that is removed with this value.
#[derive(Debug)]
pub(crate) struct Quota {
    folder: PathBuf,
}

impl Quota {
    /// A group that has this much CPU.
    pub(crate) fn of(name: &str, cores: f64) -> anyhow::Result<Self> {
        Self::below(Path::new(ROOT), name, cores)
    }

    fn below(root: &Path, name: &str, cores: f64) -> anyhow::Result<Self> {
        let name = format!("mailtier-bench-{}-{name}", std::process::id());
        let is_second = root.join("cgroup.controllers").is_file();
        let parent = if is_second { root.to_owned() } else { root.join("cpu") };
        if is_second {
            // A group has only the controllers that its parent hands on.
            fs::write(root.join("cgroup.subtree_control"), "+cpu")
                .context("the controller cpu cannot be used (root of the control groups, and root, are needed)")?;
        } else if !parent.is_dir() {
            bail!("there is no controller cpu below {}", root.display());
        }
        let quota = Self { folder: parent.join(name) };
        fs::create_dir(&quota.folder).with_context(|| format!("cannot make {}", quota.folder.display()))?;
        for (file, content) in quota_files(is_second, cores) {
            fs::write(quota.folder.join(file), content).with_context(|| format!("cannot write {file}"))?;
        }
        Ok(quota)
    }

    /// The line of shell with which a process enters the group.
    pub(crate) fn entrance(&self) -> String {
        format!("echo $$ > '{}'\n", self.folder.join("cgroup.procs").display())
    }

    /// Puts a process with all its threads into the group.
    pub(crate) fn take(&self, pid: u32) -> anyhow::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string()).with_context(|| format!("process {pid} stays out"))
    }

    /// Periods there were, and those in which the group had used up its share.
    pub(crate) fn periods(&self) -> (u64, u64) {
        let text = fs::read_to_string(self.folder.join("cpu.stat")).unwrap_or_default();
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
        };
        (number("nr_periods"), number("nr_throttled"))
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        for _ in 0..REMOVALS {
            if fs::remove_dir(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// What is written where.
fn quota_files(is_second: bool, cores: f64) -> Vec<(&'static str, String)> {
    // A share that is less than the kernel takes of one period is that of a longer one.
    let period = PERIOD_US.max(LEAST_US / cores);
    let quota = cores * period;
    if is_second {
        vec![("cpu.max", format!("{quota:.0} {period:.0}"))]
    } else {
        vec![("cpu.cfs_period_us", format!("{period:.0}")), ("cpu.cfs_quota_us", format!("{quota:.0}"))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_told_the_same() {
        assert_eq!(quota_files(true, 0.5), [("cpu.max", "5000 10000".to_owned())]);
        let first = quota_files(false, 2.0);
        assert_eq!(first, [("cpu.cfs_period_us", "10000".to_owned()), ("cpu.cfs_quota_us", "20000".to_owned())]);
        assert_eq!(quota_files(true, 0.05), [("cpu.max", "1000 20000".to_owned())], "the kernel takes no less");
    }

    #[test]
    fn a_group_is_told_its_share_and_says_how_often_it_was_used_up() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("cpu")).unwrap();
        let quota = Quota::below(root.path(), "tier", 0.25).unwrap();
        assert_eq!(fs::read_to_string(quota.folder.join("cpu.cfs_quota_us")).unwrap(), "2500");
        fs::write(quota.folder.join("cpu.stat"), "nr_periods 40\nnr_throttled 30\nthrottled_time 12\n").unwrap();
        assert_eq!(quota.periods(), (40, 30));
        quota.take(17).unwrap();
        assert_eq!(fs::read_to_string(quota.folder.join("cgroup.procs")).unwrap(), "17");
        fs::remove_dir_all(&quota.folder).unwrap();
        assert!(Quota::below(&root.path().join("elsewhere"), "tier", 1.0).is_err());
    }
}

//! System calls by name, as `perf trace` counts them: it slows a program down far less than strace does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Pages of the buffer between the kernel and perf, for each processor.
const BUFFER_PAGES: &str = "8192";

/// How often each was called.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    calls: BTreeMap<String, u64>,
    /// Calls that perf has missed.
    lost: u64,
}

/// Counts what these processes call, for so long.
pub(crate) fn trace(pids: &str, seconds: u64) -> anyhow::Result<Trace> {
    let output = Command::new("perf")
        .args(["trace", "-s", "-m", BUFFER_PAGES, "-p", pids, "--", "sleep", &seconds.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("cannot start perf: is linux-perf installed?")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("perf trace: {}", text.trim());
    }
    Ok(parse(&text))
}

/// Adds up what is said of each thread.
fn parse(text: &str) -> Trace {
    let mut trace = Trace::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["LOST", lost, ..] => trace.lost += lost.parse::<u64>().unwrap_or_default(),
            // Name, calls, errors, and times.
            [name, calls, errors, _, _, _, _, ..] if errors.parse::<u64>().is_ok() => {
                if let Ok(calls) = calls.parse::<u64>() {
                    *trace.calls.entry((*name).to_owned()).or_default() += calls;
                }
            }
            _ => {}
        }
    }
    trace
}

impl Trace {
    /// All of them.
    pub(crate) fn total(&self) -> f64 {
        self.calls.values().sum::<u64>() as f64
    }

    /// For one of so many messages, the most frequent first.
    pub(crate) fn table(&self, messages: f64) -> String {
        let mut text = format!("System calls for a message, of {messages:.0} messages.\n");
        if self.lost > 0 {
            let _ = writeln!(text, "{} calls were missed, so all of these are too few.", self.lost);
        }
        let mut calls: Vec<_> = self.calls.iter().collect();
        calls.sort_by_key(|(_, calls)| std::cmp::Reverse(**calls));
        for (name, calls) in calls {
            let _ = writeln!(text, "{:>9.4} {name}", *calls as f64 / messages);
        }
        let _ = writeln!(text, "{:>9.4} all", self.total() / messages);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "
 Summary of events:

 tokio-runtime-w (11), 4314 events, 60.0%

   syscall            calls  errors  total       min       avg       max       stddev
                                     (msec)    (msec)    (msec)    (msec)        (%)
   --------------- --------  ------ -------- --------- --------- ---------     ------
   epoll_wait           700      0   869.126     0.000     1.209     9.377      2.19%
   recvfrom             200     50    17.970     0.019     0.025     0.082      0.84%

 tokio-runtime-w (12), 200 events, 40.0%

   recvfrom             100      0    15.713     0.019     0.022     0.084      0.97%
";

    #[test]
    fn threads_are_added_up() {
        let trace = parse(SAID);
        assert!((trace.total() - 1000.0).abs() < f64::EPSILON);
        let table = trace.table(100.0);
        let lines: Vec<&str> = table.lines().map(str::trim).collect();
        assert_eq!(lines[1..], ["7.0000 epoll_wait", "3.0000 recvfrom", "10.0000 all"]);
    }

    #[test]
    fn what_was_missed_is_said() {
        assert!(parse("LOST 12 events!\n").table(1.0).contains("12 calls were missed"));
    }
}

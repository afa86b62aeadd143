//! Samples of stacks as `perf script` writes them, folded: each different stack, its outermost frame first, and how often it
//! was seen. Also by symbol.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Symbols that are listed.
const LISTED: usize = 80;

/// Different stacks, frames separated by semicolons.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    counts: BTreeMap<String, u64>,
}

/// Reads what `perf record` has written.
pub(crate) fn read(file: &Path) -> anyhow::Result<Stacks> {
    let mut perf = Command::new("perf")
        .args(["script", "--no-inline", "--no-demangle", "-F", "comm,ip,sym,dso", "-i"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start perf script")?;
    let output = perf.stdout.take().context("perf script says nothing")?;
    let stacks = fold(BufReader::new(output))?;
    let status = perf.wait()?;
    if !status.success() {
        bail!("perf script: {status}");
    }
    Ok(stacks)
}

/// A sample is a line with the thread's name, a line for each frame, the innermost first, and an empty line.
fn fold(mut input: impl BufRead) -> anyhow::Result<Stacks> {
    let mut stacks = Stacks::default();
    let mut names: HashMap<String, String> = HashMap::new();
    let (mut thread, mut frames, mut line) = (String::new(), Vec::new(), Vec::new());
    loop {
        line.clear();
        let is_over = input.read_until(b'\n', &mut line)? == 0;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            if !thread.is_empty() {
                let outermost_first = std::iter::once(std::mem::take(&mut thread)).chain(frames.drain(..).rev());
                let stack: Vec<String> = outermost_first.collect();
                *stacks.counts.entry(stack.join(";")).or_default() += 1;
            }
            if is_over {
                return Ok(stacks);
            }
        } else if text.starts_with([' ', '\t']) && !thread.is_empty() {
            let frame = text.trim_start().split_once(' ').map_or(text, |(_, frame)| frame);
            let name = names.entry(frame.to_owned()).or_insert_with(|| symbol(frame));
            // Without frame pointers the rest of a stack is often made up: what has no name is told once.
            if !(name.starts_with('[') && frames.last() == Some(name)) {
                frames.push(name.clone());
            }
        } else {
            text.trim().replace(';', ",").clone_into(&mut thread);
        }
    }
}

/// What a frame is called: `symbol (object)`, without the hash of Rust's names. The kernel's are marked as `_[k]`.
fn symbol(frame: &str) -> String {
    let (symbol, object) = frame.rsplit_once(" (").unwrap_or((frame, ""));
    let object = object.trim_end_matches(')');
    if symbol == "[unknown]" {
        let file = object.rsplit('/').next().unwrap_or(object).trim_matches(['[', ']']);
        return format!("[{file}]");
    }
    let name = format!("{:#}", rustc_demangle::demangle(symbol)).replace(';', ",");
    if object.starts_with("[kernel") || object.ends_with(".ko") { format!("{name}_[k]") } else { name }
}

impl Stacks {
    /// Each stack and how often it was seen.
    pub(crate) const fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// How many there are.
    pub(crate) fn samples(&self) -> u64 {
        self.counts.values().sum()
    }

    /// A line for each, as the tools around flame graphs read it.
    pub(crate) fn folded(&self) -> String {
        self.counts.iter().map(|(stack, count)| format!("{stack} {count}\n")).collect()
    }

    /// Two lists: what ran itself, and what was on the stack. `cpu_us` is what the program takes for a message.
    pub(crate) fn symbols(&self, cpu_us: f64) -> String {
        let (mut own, mut within): (HashMap<&str, u64>, HashMap<&str, u64>) = Default::default();
        for (stack, count) in &self.counts {
            // The first is the thread's name.
            let frames: Vec<&str> = stack.split(';').skip(1).collect();
            *own.entry(frames.last().copied().unwrap_or("[no stack]")).or_default() += count;
            for frame in frames.into_iter().collect::<HashSet<_>>() {
                *within.entry(frame).or_default() += count;
            }
        }
        let samples = self.samples();
        let mut text = format!("{samples} samples; {cpu_us:.1} µs of CPU for a message.\n");
        for (head, counts) in [("ran itself", own), ("was on the stack", within)] {
            let _ = writeln!(text, "\n{:>7} {:>8}  {head}", "share", "µs");
            let mut counts: Vec<(&str, u64)> = counts.into_iter().collect();
            counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
            for (name, count) in counts.into_iter().take(LISTED) {
                let share = count as f64 / samples.max(1) as f64;
                let _ = writeln!(text, "{:>5.1} % {:>8.2}  {name}", share * 100.0, share * cpu_us);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "tokio-runtime-w \n\
        \t          164ef2 _ZN5alloc3vec12Vec$LT$T$GT$4push17h0123456789abcdefE (/opt/mailtier-queue)\n\
        \t          164000 main (/opt/mailtier-queue)\n\
        \n\
        tokio-runtime-w \n\
        \tffffffff81000000 tcp_sendmsg ([kernel.kallsyms])\n\
        \t          164000 main (/opt/mailtier-queue)\n\
        \t2f656c61636f6c2f [unknown] (/usr/lib/libc.so.6)\n\
        \n\
        tokio-runtime-w \n\
        \tffffffff81000000 tcp_sendmsg ([kernel.kallsyms])\n\
        \t          164000 main (/opt/mailtier-queue)\n\
        \t2f656c61636f6c2f [unknown] (/usr/lib/libc.so.6)\n\
        \t2f656c61636f6c30 [unknown] (/usr/lib/libc.so.6)\n";

    #[test]
    fn samples_are_folded_with_the_outermost_frame_first() {
        let stacks = fold(SAID.as_bytes()).unwrap();
        assert_eq!(
            stacks.folded(),
            "tokio-runtime-w;[libc.so.6];main;tcp_sendmsg_[k] 2\ntokio-runtime-w;main;alloc::vec::Vec<T>::push 1\n"
        );
    }

    #[test]
    fn symbols_have_their_share_of_the_time() {
        let text = fold(SAID.as_bytes()).unwrap().symbols(30.0);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(lines.contains(&vec!["66.7", "%", "20.00", "tcp_sendmsg_[k]"]), "{text}");
        assert!(lines.contains(&vec!["100.0", "%", "30.00", "main"]), "{text}");
    }
}

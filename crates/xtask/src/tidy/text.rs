//! Checks that need no parser: charters, lengths, depths, names, and words that must not stand in code.

use super::{Finding, Source};

/// Lines a file may have without its tests.
const MAX_FILE_LINES: usize = 600;
/// Lines `main.rs` may have.
const MAX_MAIN_LINES: usize = 60;
/// Parts of `crates/<crate>/src/<module>/<file>.rs`.
const MAX_PATH_PARTS: usize = 5;
/// Names that say nothing about what is inside.
const BANNED_NAMES: &[&str] = &["common", "util", "utils", "helpers", "misc", "core"];
/// Crates whose code may use `anyhow`: what feeds a `main`, and development tools.
const ANYHOW_CRATES: &[&str] = &["service", "ctl", "xtask", "testkit", "bench"];

/// All findings of one file.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |check, message: String| {
        findings.push(Finding { check, place: source.path.clone(), message });
    };
    if !source.text.starts_with("//! ") && !source.is_test_file() {
        found("charter", "begins without `//!`: say what the file is responsible for, and what not".to_owned());
    }
    let lines = source.shipped_lines();
    if lines > MAX_FILE_LINES && !source.is_test_file() {
        found("file-size", format!("{lines} lines without tests; the limit is {MAX_FILE_LINES}"));
    }
    if source.path.ends_with("/src/main.rs") && lines > MAX_MAIN_LINES {
        found("main-size", format!("{lines} lines; a main has {MAX_MAIN_LINES} at most, the rest is its library's"));
    }
    if source.path.contains("/src/") && source.path.split('/').count() > MAX_PATH_PARTS {
        found("depth", "lies deeper than crates/<crate>/src/<module>/<file>.rs".to_owned());
    }
    if source.path.split(['/', '.']).any(|part| BANNED_NAMES.contains(&part)) {
        found("names", format!("has a name that says nothing: one of {}", BANNED_NAMES.join(", ")));
    }
    findings.extend(check_lines(source));
    findings
}

/// Findings that belong to a line.
fn check_lines(source: &Source) -> Vec<Finding> {
    let shipped = source.shipped_lines();
    let is_tool = source.crate_name() == "xtask";
    let mut findings = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let in_test = source.is_test_file() || number >= shipped;
        let mut found = |check, message: &str| {
            findings.push(Finding {
                check,
                place: format!("{}:{}", source.path, number + 1),
                message: message.to_owned(),
            });
        };
        if is_tool {
            continue;
        }
        if line.contains("TODO") || line.contains("FIXME") {
            found("unfinished", "work that is left goes into an issue");
        }
        if in_test && line.contains("sleep(") {
            found("sleep", "a test waits for a condition or moves an injected clock");
        }
        if !in_test && line.contains("anyhow") && !may_use_anyhow(source) {
            found("anyhow", "errors of a library are types (thiserror)");
        }
        if !in_test && line.contains("Reply::new(") && source.path != "crates/types/src/reply.rs" {
            found("reply", "reply literals stand in types::reply");
        }
    }
    findings
}

fn may_use_anyhow(source: &Source) -> bool {
    ANYHOW_CRATES.contains(&source.crate_name()) || source.path.ends_with("/main.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(path: &str, text: &str) -> Vec<&'static str> {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        check(&source).into_iter().map(|finding| finding.check).collect()
    }

    #[test]
    fn a_tidy_file_has_no_findings() {
        assert!(checks("crates/smtp/src/server/mail.rs", "//! MAIL.\nfn a() {}\n").is_empty());
    }

    #[test]
    fn each_habit_is_checked() {
        let long = format!("//! Long.\n{}", "\n".repeat(600));
        for (path, text, check) in [
            ("crates/smtp/src/a.rs", "fn a() {}", "charter"),
            ("crates/smtp/src/a.rs", long.as_str(), "file-size"),
            ("crates/queue/src/main.rs", &long[..100], "main-size"),
            ("crates/smtp/src/a/b/c.rs", "//! Deep.", "depth"),
            ("crates/smtp/src/utils.rs", "//! Things.", "names"),
            ("crates/smtp/src/a.rs", "//! A.\n// TODO later", "unfinished"),
            ("crates/smtp/src/a.rs", "//! A.\n#[cfg(test)]\nmod tests { fn a() { sleep(1) } }", "sleep"),
            ("crates/smtp/tests/a.rs", "fn a() { std::thread::sleep(x) }", "sleep"),
            ("crates/smtp/src/a.rs", "//! A.\nfn a() -> anyhow::Result<()> {}", "anyhow"),
            ("crates/smtp/src/a.rs", "//! A.\nlet a = Reply::new(250);", "reply"),
        ] {
            assert_eq!(checks(path, text), vec![check], "{path}: {text:.60}");
        }
    }
}

//! What a server has kept: the messages of a maildir, as they were before it put its own fields above. Not responsible for
//! what they should be.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use mailtier_testkit::installation::pause;

use super::LIMIT;

/// The fields that servers put above what they get; those of Mailtier itself are among them.
const ABOVE: [&str; 6] = ["Return-Path", "Delivered-To", "X-Original-To", "Envelope-To", "Received", "Delivery-Date"];
/// How much of a message is looked at to tell which it is.
const HEAD_OCTETS: u64 = 16 * 1024;
/// How much of it a failure shows.
const SHOWN_OCTETS: u64 = 1000;

/// Waits for the message in whose beginning all these words are, in any case of letters; it is there once.
pub(super) fn wait_for(maildir: &Path, words: &[&str]) -> Vec<u8> {
    let started = Instant::now();
    loop {
        let found: Vec<PathBuf> = messages(maildir).into_iter().filter(|path| begins_with(path, words)).collect();
        assert!(found.len() < 2, "{words:?} has come {} times", found.len());
        if let Some(path) = found.first() {
            return fs::read(path).unwrap();
        }
        let heads = || messages(maildir).iter().filter_map(|path| head(path, SHOWN_OCTETS).ok()).collect::<Vec<_>>();
        assert!(started.elapsed() < LIMIT, "{words:?} has not come to {}; what has: {:#?}", maildir.display(), heads());
        pause();
    }
}

/// A kept message with CRLF at the end of each line, without what servers have put above it.
pub(super) fn as_sent(kept: &[u8]) -> Vec<u8> {
    let mut rest = kept;
    while ABOVE.iter().any(|name| is_field(rest, name)) {
        loop {
            let end = rest.iter().position(|octet| *octet == b'\n').unwrap();
            rest = &rest[end + 1..];
            if !rest.starts_with(b" ") && !rest.starts_with(b"\t") {
                break;
            }
        }
    }
    let mut content = Vec::with_capacity(rest.len() + rest.len() / 50);
    for octet in rest {
        if *octet == b'\n' {
            content.push(b'\r');
        }
        content.push(*octet);
    }
    content
}

fn is_field(text: &[u8], name: &str) -> bool {
    text.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name.as_bytes()))
        && text.get(name.len()) == Some(&b':')
}

/// A server writes to `tmp` and moves what is whole to `new`.
fn messages(maildir: &Path) -> Vec<PathBuf> {
    fs::read_dir(maildir.join("new")).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn begins_with(path: &Path, words: &[&str]) -> bool {
    let head = head(path, HEAD_OCTETS).unwrap_or_default().to_lowercase();
    words.iter().all(|word| head.contains(&word.to_lowercase()))
}

fn head(path: &Path, most: u64) -> io::Result<String> {
    let mut octets = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut octets)?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

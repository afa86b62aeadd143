//! The keys of the root that validation begins with, and the files they stand in: DNSKEY and DS records as unbound's,
//! Knot's and BIND's tools write them. Not responsible for rollovers: who replaces the file restarts the worker.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE;
use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS};
use hickory_resolver::proto::dnssec::{Algorithm, PublicKey as _, TrustAnchors as Keys, Verifier as _};
use hickory_resolver::proto::rr::{Name, RData, Record};

/// Octets of a file that are read; the root's keys take a thousand.
const MAX_FILE_OCTETS: u64 = 1 << 20;
/// What a line should look like, for who wrote another.
const EXPECTED: &str = "expected a record such as `. IN DS 20326 8 2 E06D44B8…` or `. IN DNSKEY 257 3 8 AwEAAa…`";

/// Why a file has no trust anchors.
#[derive(Debug, thiserror::Error)]
pub enum TrustAnchorsError {
    /// It cannot be read.
    #[error("{}: {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A line that is no trust anchor.
    #[error("{}, line {line}: {problem}", .path.display())]
    BadLine {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// There are none in it.
    #[error("{} holds no DNSKEY or DS record; leave the key out for the root's own", .0.display())]
    Empty(PathBuf),
}

/// Keys of the root that are trusted without being signed (RFC 4035 §4.4).
#[derive(Clone)]
pub struct TrustAnchors {
    keys: Keys,
    /// Of further keys only digests are known.
    digests: Vec<DS>,
}

impl Default for TrustAnchors {
    /// Those that IANA publishes for the root.
    fn default() -> Self {
        Self { keys: Keys::default(), digests: Vec::new() }
    }
}

impl TrustAnchors {
    /// Those of a file.
    ///
    /// # Errors
    /// [`TrustAnchorsError`] names the line.
    pub fn from_file(path: &Path) -> Result<Self, TrustAnchorsError> {
        let unreadable = |error| TrustAnchorsError::Unreadable { path: path.to_owned(), error };
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_OCTETS {
            return Err(unreadable(std::io::Error::other(format!("larger than {MAX_FILE_OCTETS} octets"))));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let mut anchors = Self { keys: Keys::empty(), digests: Vec::new() };
        for (line, record) in records(&text) {
            let bad_line = |problem| TrustAnchorsError::BadLine { path: path.to_owned(), line, problem };
            anchors.add(&record).map_err(bad_line)?;
        }
        match anchors.keys.is_empty() && anchors.digests.is_empty() {
            true => Err(TrustAnchorsError::Empty(path.to_owned())),
            false => Ok(anchors),
        }
    }

    pub(super) const fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn has_digests(&self) -> bool {
        !self.digests.is_empty()
    }

    /// Adds to `keys` those of these keys of the root that a digest is known of.
    pub(super) fn add_fitting(&self, published: &[Record], keys: &mut Keys) {
        for record in published {
            let RData::DNSSEC(DNSSECRData::DNSKEY(key)) = &record.data else { continue };
            if !key.revoke() && self.digests.iter().any(|digest| is_of(digest, key)) {
                keys.insert(key.public_key());
            }
        }
    }

    /// Takes a record: its owner, a lifetime and a class in any order or none, its kind, and its data.
    fn add(&mut self, record: &str) -> Result<(), String> {
        let mut words = record.split_whitespace();
        let owner = words.next().unwrap_or_default();
        let is_filler =
            |word: &&str| word.eq_ignore_ascii_case("IN") || word.bytes().all(|octet| octet.is_ascii_digit());
        let mut words = words.skip_while(is_filler);
        let kind = words.next().unwrap_or_default().to_ascii_uppercase();
        let data: Vec<_> = words.collect();
        if !["DNSKEY", "DS"].contains(&kind.as_str()) {
            return Err(EXPECTED.to_owned());
        }
        if owner != "." {
            return Err(format!("an anchor of `{owner}`; only keys of the root (`.`) can be given"));
        }
        if kind == "DS" { self.add_digest(&data) } else { self.add_key(&data) }
    }

    fn add_key(&mut self, data: &[&str]) -> Result<(), String> {
        let unreadable = |error| format!("the DNSKEY record cannot be read ({error}); {EXPECTED}");
        let parsed: Keys = format!(". IN DNSKEY {}\n", data.join(" ")).parse().map_err(unreadable)?;
        let key = parsed.get(0).ok_or_else(|| EXPECTED.to_owned())?;
        if !key.algorithm().is_supported() {
            return Err(format!("keys of algorithm {} cannot be used", u8::from(key.algorithm())));
        }
        self.keys.insert(key);
        Ok(())
    }

    fn add_digest(&mut self, data: &[&str]) -> Result<(), String> {
        let unreadable = || format!("the DS record cannot be read; {EXPECTED}");
        let [tag, algorithm, kind, digest @ ..] = data else { return Err(unreadable()) };
        let algorithm = Algorithm::from_u8(algorithm.parse().map_err(|_| unreadable())?);
        let kind = kind.parse::<u8>().map_err(|_| unreadable())?;
        let digest = HEXLOWER_PERMISSIVE.decode(digest.concat().as_bytes()).map_err(|_| unreadable())?;
        let octets = match kind {
            2 => 32,
            4 => 48,
            other => return Err(format!("digests of type {other} cannot be used; give one of type 2 or 4")),
        };
        if !algorithm.is_supported() {
            return Err(format!("keys of algorithm {} cannot be used", u8::from(algorithm)));
        }
        if digest.len() != octets {
            return Err(format!("the digest has {} octets; one of type {kind} has {octets}", digest.len()));
        }
        let tag = tag.parse().map_err(|_| unreadable())?;
        self.digests.push(DS::new(tag, algorithm, kind.into(), digest));
        Ok(())
    }
}

fn is_of(digest: &DS, key: &DNSKEY) -> bool {
    digest.algorithm() == key.algorithm() && digest.covers(&Name::root(), key).unwrap_or(false)
}

/// The records of a file, each with the line it begins on: without comments, and in one piece where parentheses run over
/// several lines (RFC 1035 §5.1).
fn records(text: &str) -> Vec<(usize, String)> {
    let mut records: Vec<(usize, String)> = Vec::new();
    let mut is_open = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.split(';').next().unwrap_or_default();
        match records.last_mut().filter(|_| is_open) {
            Some((_, record)) => *record = format!("{record} {line}"),
            None => records.push((number + 1, line.to_owned())),
        }
        is_open = line.rfind('(').map_or(is_open && !line.contains(')'), |opened| line.rfind(')') < Some(opened));
    }
    records.iter_mut().for_each(|(_, record)| *record = record.replace(['(', ')'], " "));
    records.retain(|(_, record)| !record.trim().is_empty());
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TrustAnchors, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        std::fs::write(&path, text).unwrap();
        TrustAnchors::from_file(&path).map_err(|error| {
            let text = error.to_string();
            text.strip_prefix(&path.display().to_string()).unwrap_or(&text).to_owned()
        })
    }

    /// As IANA publishes it.
    const DIGEST: &str = "20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D";
    /// Not the root's.
    const KEY: &str =
        "257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==";

    #[test]
    fn records_are_read_as_every_tool_writes_them() {
        let (halves, short) = (KEY.split_at(60), &DIGEST[..30]);
        for (text, keys, digests) in [
            (format!(". IN DS {DIGEST}\n"), 0, 1),
            (format!(".\t172800\tIN\tDNSKEY\t{KEY} ;{{id = 1 (ksk), size = 256b}} ;;state=2 [  VALID  ]\n"), 1, 0),
            (format!("; autotrust trust anchor file\n;;id: . 1\n\n. DNSKEY {KEY}\r\n. ds {DIGEST}\n"), 1, 1),
            (format!(". 3600 IN DNSKEY {} (\n  {} ; comment )\n  )\n. DS {DIGEST}", halves.0, halves.1), 1, 1),
            (format!(". IN DS {short} {}\n", &DIGEST[30..]), 0, 1),
        ] {
            let anchors = read(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((anchors.keys.len(), anchors.digests.len()), (keys, digests), "{text}");
        }
    }

    #[test]
    fn what_is_no_anchor_is_named_with_its_line() {
        for (text, expected) in [
            ("".to_owned(), " holds no DNSKEY or DS record; leave the key out for the root's own"),
            ("; nothing\n".to_owned(), " holds no DNSKEY or DS record; leave the key out for the root's own"),
            (format!(". DS {DIGEST}\n\nhello\n"), ", line 3: expected a record such as"),
            (format!("corp.example. DS {DIGEST}"), ", line 1: an anchor of `corp.example.`; only keys of the root"),
            (". DS 20326 8 1 E06D44B80B8F1D39A95C0B0D7C65D08458E88040".to_owned(), ", line 1: digests of type 1"),
            (". DS 20326 8 2 E06D44".to_owned(), ", line 1: the digest has 3 octets; one of type 2 has 32"),
            (format!(". DS {}", DIGEST.replace('E', "X")), ", line 1: the DS record cannot be read"),
            (". DS 20326".to_owned(), ", line 1: the DS record cannot be read"),
            (format!(". DS {}", DIGEST.replacen(" 8 ", " 200 ", 1)), ", line 1: keys of algorithm 200 cannot be used"),
            (". DNSKEY 257 3 13 !!!".to_owned(), ", line 1: the DNSKEY record cannot be read"),
            (". DNSKEY".to_owned(), ", line 1: the DNSKEY record cannot be read"),
            ("<TrustAnchor id=\"1\">".to_owned(), ", line 1: expected a record such as"),
        ] {
            let error = read(&text).err().unwrap_or_else(|| panic!("taken: {text}"));
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        let missing = TrustAnchors::from_file(Path::new("/nowhere/root.key")).err().unwrap().to_string();
        assert_eq!(missing, "/nowhere/root.key: No such file or directory (os error 2)");
    }
}

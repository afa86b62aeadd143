//! The structure of a message of parts (RFC 2045, RFC 2046), taken apart one level at a time: nothing here goes into parts of
//! parts, so nothing here can be made to. Not responsible for what is in them.

use std::ops::Range;

use crate::header::{original_headers, value_of};

/// RFC 2046 §5.1.1.
pub(crate) const MAX_BOUNDARY_OCTETS: usize = 70;
/// The largest header section of a part, in octets.
pub(crate) const MAX_HEADER_OCTETS: usize = 64 << 10;

/// What stands at the beginning of a part, or of a message.
pub(crate) struct Head {
    /// In lower case, without parameters; empty where nothing is said.
    pub(crate) media: String,
    pub(crate) boundary: Option<String>,
    pub(crate) charset: Option<String>,
    /// In lower case; empty where nothing is said.
    pub(crate) encoding: String,
}

/// Header section and body.
pub(crate) fn split(section: &[u8]) -> (Head, &[u8]) {
    let header = original_headers(section, MAX_HEADER_OCTETS);
    let rest = section.get(header.len()..).unwrap_or_default();
    let body = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")).unwrap_or(rest);
    let lower = |name: &str| value_of(header, name).unwrap_or_default().to_ascii_lowercase();
    let content_type = value_of(header, "content-type").unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let boundary = parameter(&content_type, "boundary").filter(|boundary| boundary.len() <= MAX_BOUNDARY_OCTETS);
    let head = Head {
        media,
        boundary: boundary.filter(|boundary| !boundary.is_empty()),
        charset: parameter(&content_type, "charset"),
        encoding: lower("content-transfer-encoding"),
    };
    (head, body)
}

/// A parameter of a Content-Type field (RFC 2045 §5.1).
fn parameter(value: &str, name: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (given, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (text, tail) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at_checked(after.find(';').unwrap_or(after.len()))?,
        };
        if given.trim().eq_ignore_ascii_case(name) {
            return Some(text.trim().to_owned());
        }
        rest = tail.split_once(';')?.1;
    }
}

/// Where in a body what stands between the boundaries of a multipart is, as much as `most`. One that is cut off ends with the
/// content; the line end before a boundary is the last of the part's octets here (RFC 2046 §5.1.1 has it be the boundary's).
pub(crate) fn members(body: &[u8], boundary: &str, most: usize) -> Vec<Range<usize>> {
    let mut members = Vec::new();
    let mut begun: Option<usize> = None;
    let mut line_start = 0;
    for line_end in memchr::memchr_iter(b'\n', body).map(|at| at + 1).chain([body.len()]) {
        let line = body.get(line_start..line_end).unwrap_or_default().trim_ascii_end();
        let marked = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary.as_bytes()));
        if let Some(rest) = marked.filter(|rest| rest.is_empty() || *rest == b"--") {
            if let Some(begun) = begun {
                members.push(begun..line_start);
            }
            begun = rest.is_empty().then_some(line_end);
            if begun.is_none() || members.len() >= most {
                return members;
            }
        }
        line_start = line_end;
    }
    members.extend(begun.map(|begun| begun..body.len()));
    members
}

//! The protocol between the programs, against what was released: a number keeps its name and its type, or is reserved, so
//! that neighbouring versions run side by side. New fields are free. `proto/released.txt` has what was released; `cargo
//! xtask protocol` writes it, which is a step of every release.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::Context as _;

use super::Finding;

/// What was released.
const RELEASED: &str = "proto/released.txt";
/// Where the protocol is.
const FOLDER: &str = "proto/mailtier/v1";

/// What a number stands for that is used no more.
const RESERVED: &str = "reserved";
/// The largest number of a value of an enum; those of fields are smaller.
const MAX_NUMBER: u32 = i32::MAX.unsigned_abs();

/// What the numbers of messages and enums mean.
#[derive(Debug, Default)]
struct Numbers {
    /// Message or enum, and number → type and name.
    fields: BTreeMap<(String, u32), String>,
    /// Message or enum → numbers that are never to be used again.
    reserved: BTreeMap<String, Vec<RangeInclusive<u32>>>,
    /// Message or enum, and a name that is never to be used again. Nothing is read by its name, so a number is not kept by
    /// it.
    names: BTreeSet<(String, String)>,
}

impl Numbers {
    /// Whether none of these numbers can be used.
    fn has_reserved(&self, scope: &str, numbers: &RangeInclusive<u32>) -> bool {
        let ranges = self.reserved.get(scope).map_or(&[][..], Vec::as_slice);
        let mut next = *numbers.start();
        while let Some(range) = ranges.iter().find(|range| range.contains(&next)) {
            if range.end() >= numbers.end() {
                return true;
            }
            next = range.end() + 1;
        }
        false
    }

    /// What a number is now that was this field.
    fn meaning(&self, scope: &str, number: u32, was: &str) -> &str {
        let name = was.rsplit(' ').next().unwrap_or_default();
        match self.fields.get(&(scope.to_owned(), number)) {
            Some(field) => field,
            None if self.names.contains(&(scope.to_owned(), name.to_owned())) => "reserved by its name alone",
            None => "missing",
        }
    }
}

/// Numbers that mean something else than they did.
///
/// # Errors
/// A file cannot be read.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let released = fs::read_to_string(root.join(RELEASED)).with_context(|| format!("cannot read {RELEASED}"))?;
    Ok(compare(&parse_released(&released), &read(root)?))
}

/// Notes the protocol as it is now as released.
///
/// # Errors
/// A file cannot be read or written.
pub fn release(root: &Path) -> anyhow::Result<()> {
    let mut text = String::from(
        "# The fields of the protocol in the last release; `cargo xtask protocol` writes this, as a step of a release.\n",
    );
    let Numbers { fields, reserved, .. } = read(root)?;
    for ((scope, number), field) in fields {
        let _ = writeln!(text, "{scope} {number} {field}");
    }
    for (scope, ranges) in reserved {
        for range in ranges {
            let _ = writeln!(text, "{scope} {} {RESERVED}", range_text(&range));
        }
    }
    fs::write(root.join(RELEASED), text).with_context(|| format!("cannot write {RELEASED}"))
}

/// `3`, or `3-5` as in what was released.
fn range_text(range: &RangeInclusive<u32>) -> String {
    let (first, last) = (range.start(), range.end());
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn read(root: &Path) -> anyhow::Result<Numbers> {
    let mut numbers = Numbers::default();
    for entry in fs::read_dir(root.join(FOLDER)).with_context(|| format!("cannot read {FOLDER}"))? {
        parse(&fs::read_to_string(entry?.path())?, &mut numbers);
    }
    Ok(numbers)
}

fn compare(released: &Numbers, present: &Numbers) -> Vec<Finding> {
    let finding = |scope: &str, message| Finding { check: "protocol", place: format!("{FOLDER}: {scope}"), message };
    let differs = released.fields.iter().filter_map(|((scope, number), was)| {
        let is = present.meaning(scope, *number, was);
        (is != was && !present.has_reserved(scope, &(*number..=*number))).then(|| {
            let message = format!(
                "number {number} was `{was}` in the last release and is {is}: the version beside would misread it; reserve \
                 the number, and give what is new one of its own"
            );
            finding(scope, message)
        })
    });
    let ranges = released.reserved.iter().flat_map(|(scope, ranges)| ranges.iter().map(move |range| (scope, range)));
    let freed = ranges.filter(|(scope, range)| !present.has_reserved(scope, range)).map(|(scope, range)| {
        let numbers = range_text(range);
        finding(
            scope,
            format!("{numbers} was reserved in the last release and is free now: the version beside may send it"),
        )
    });
    differs.chain(freed).collect()
}

fn parse_released(text: &str) -> Numbers {
    let mut released = Numbers::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.splitn(3, ' ');
        let (Some(scope), Some(number), Some(field)) = (words.next(), words.next(), words.next()) else { continue };
        if field == RESERVED {
            let (first, last) = number.split_once('-').unwrap_or((number, number));
            let range = first.parse().ok().zip(last.parse().ok()).map(|(first, last)| first..=last);
            released.reserved.entry(scope.to_owned()).or_default().extend(range);
        } else if let Ok(number) = number.parse() {
            released.fields.insert((scope.to_owned(), number), field.to_owned());
        }
    }
    released
}

/// Adds the fields of messages and the values of enums, and what is reserved there. Our files have one to a line.
fn parse(text: &str, numbers: &mut Numbers) {
    let mut scopes = Vec::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.ends_with('{') {
            // What is within a oneof belongs to its message; what is within a service has no numbers.
            let is_scope = matches!(words.first(), Some(&("message" | "enum")));
            scopes.push(words.get(1).filter(|_| is_scope).map(|name| (*name).to_owned()));
        } else if line.starts_with('}') {
            scopes.pop();
        }
        let scope: Vec<&str> = scopes.iter().flatten().map(String::as_str).collect();
        if scope.is_empty() {
            continue;
        }
        let scope = scope.join(".");
        if let Some(reserved) = line.strip_prefix(RESERVED).filter(|rest| rest.starts_with(char::is_whitespace)) {
            for part in reserved.trim_end_matches(';').split(',').map(str::trim) {
                if let Some(name) = part.strip_prefix(['"', '\'']).and_then(|rest| rest.strip_suffix(['"', '\''])) {
                    numbers.names.insert((scope.clone(), name.to_owned()));
                } else {
                    numbers.reserved.entry(scope.clone()).or_default().extend(range(part));
                }
            }
        } else if let Some((field, number)) = line.split_once(" = ")
            && let Ok(number) = number.trim_end_matches(';').split([' ', '[']).next().unwrap_or_default().parse()
        {
            numbers.fields.insert((scope, number), field.to_owned());
        }
    }
}

/// `3`, `3 to 5` or `3 to max`.
fn range(text: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = text.split_once(" to ").map_or((text, text), |(first, last)| (first.trim(), last.trim()));
    let last = if last == "max" { MAX_NUMBER } else { last.parse().ok()? };
    Some(first.parse().ok()?..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "
        service S {
          rpc Do(A) returns (B);
        }
        message A {
          // number = 9;
          string name = 1;
          repeated B many = 2; // a word
          oneof what {
            int64 id = 3;
          }
          enum Kind {
            NONE = 0;
          }
        }
    ";

    fn parsed(text: &str) -> Numbers {
        let mut numbers = Numbers::default();
        parse(text, &mut numbers);
        numbers
    }

    fn findings(after: &str) -> Vec<String> {
        compare(&parsed(BEFORE), &parsed(after)).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn fields_are_found_with_their_numbers() {
        let fields = parsed(BEFORE).fields;
        let found: Vec<String> =
            fields.into_iter().map(|((scope, number), field)| format!("{scope} {number} {field}")).collect();
        assert_eq!(found, ["A 1 string name", "A 2 repeated B many", "A 3 int64 id", "A.Kind 0 NONE"]);
    }

    #[test]
    fn what_was_released_keeps_its_meaning() {
        assert_eq!(findings(BEFORE), [""; 0]);
        assert_eq!(findings(&BEFORE.replace("string name = 1;", "string name = 1;\n int32 new = 4;")), [""; 0]);
        for reserved in ["1, 7", "7, 1", "1 to 1", "1 to max", "9 to 11, 1"] {
            assert_eq!(findings(&BEFORE.replace("string name = 1;", &format!("reserved {reserved};"))), [""; 0]);
        }
        let all = "message A {\n reserved 1 to 3;\n enum Kind {\n reserved 0;\n }\n }";
        assert_eq!(findings(all), [""; 0]);
        for (from, to) in [
            ("string name = 1;", "bytes name = 1;"),
            ("string name = 1;", "string name = 4;"),
            ("int64 id = 3;", ""),
            ("NONE = 0", "SOME = 0"),
            ("string name = 1;", "reserved 2 to 7;"),
            ("string name = 1;", "reserved \"1\";"),
            ("string name = 1;", "reserved \"name\", \"other\";"),
        ] {
            assert_eq!(findings(&BEFORE.replace(from, to)).len(), 1, "{from} → {to}");
        }
        let by_name = &findings(&BEFORE.replace("string name = 1;", "reserved 9, \"name\";"))[0];
        assert!(by_name.contains("is reserved by its name alone"), "{by_name}");
    }

    #[test]
    fn what_was_reserved_stays_so() {
        let released = parse_released("A 3-5 reserved\nA 9 reserved\n");
        let freed = |present: &str| compare(&released, &parsed(&format!("message A {{\n{present}\n}}"))).len();
        for present in ["reserved 3 to 5, 9;", "reserved 3, 4;\n reserved 5 to 20;", "reserved 1 to max;"] {
            assert_eq!(freed(present), 0, "{present}");
        }
        for (present, found) in [("reserved 3, 5, 9;", 1), ("reserved 4 to 9;", 1), ("int32 new = 4;", 2)] {
            assert_eq!(freed(present), found, "{present}");
        }
    }

    #[test]
    fn what_is_noted_reads_back() {
        let noted = "# about\nA 1 string name\nA.Kind 0 NONE\n";
        let fields = parse_released(noted).fields;
        assert_eq!(fields.len(), 2);
        assert_eq!(fields[&("A".to_owned(), 1)], "string name");
        assert_eq!([3..=3, 3..=5].map(|range| range_text(&range)), ["3", "3-5"]);
    }
}

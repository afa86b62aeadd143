//! The protocol between the programs, against what was released: a number keeps its name and its type, or is reserved, so
//! that neighbouring versions run side by side. New fields are free. `proto/released.txt` has what was released; `cargo
//! xtask protocol` writes it, which is a step of every release.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::Finding;

/// What was released.
const RELEASED: &str = "proto/released.txt";
/// Where the protocol is.
const FOLDER: &str = "proto/mailtier/v1";

/// Message or enum, and number → type and name.
type Fields = BTreeMap<(String, u32), String>;

/// What a number stands for that is used no more.
const RESERVED: &str = "reserved";

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
    for ((scope, number), field) in read(root)? {
        let _ = writeln!(text, "{scope} {number} {field}");
    }
    fs::write(root.join(RELEASED), text).with_context(|| format!("cannot write {RELEASED}"))
}

fn read(root: &Path) -> anyhow::Result<Fields> {
    let mut fields = Fields::new();
    for entry in fs::read_dir(root.join(FOLDER)).with_context(|| format!("cannot read {FOLDER}"))? {
        fields.extend(parse(&fs::read_to_string(entry?.path())?));
    }
    Ok(fields)
}

fn compare(released: &Fields, present: &Fields) -> Vec<Finding> {
    let differs = released.iter().filter_map(|((scope, number), was)| {
        let is = present.get(&(scope.clone(), *number)).map_or("missing", String::as_str);
        (is != was && is != RESERVED).then(|| Finding {
            check: "protocol",
            place: format!("{FOLDER}: {scope}"),
            message: format!(
                "number {number} was `{was}` in the last release and is {is}: the version beside would misread it; reserve \
                 the number, and give what is new one of its own"
            ),
        })
    });
    differs.collect()
}

fn parse_released(text: &str) -> Fields {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let field = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (scope, number, field) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        Some(((scope.to_owned(), number), field.to_owned()))
    };
    lines.filter_map(field).collect()
}

/// The fields of messages and the values of enums. Our files have one to a line.
fn parse(text: &str) -> Fields {
    let (mut fields, mut scopes) = (Fields::new(), Vec::new());
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
        if words.first() == Some(&RESERVED) {
            let numbers = words.iter().skip(1).filter_map(|word| word.trim_end_matches([',', ';']).parse().ok());
            fields.extend(numbers.map(|number| ((scope.clone(), number), RESERVED.to_owned())));
        } else if let Some((field, number)) = line.split_once(" = ")
            && let Ok(number) = number.trim_end_matches(';').split([' ', '[']).next().unwrap_or_default().parse()
        {
            fields.insert((scope, number), field.to_owned());
        }
    }
    fields
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

    fn findings(after: &str) -> Vec<String> {
        compare(&parse(BEFORE), &parse(after)).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn fields_are_found_with_their_numbers() {
        let found: Vec<String> =
            parse(BEFORE).into_iter().map(|((scope, number), field)| format!("{scope} {number} {field}")).collect();
        assert_eq!(found, ["A 1 string name", "A 2 repeated B many", "A 3 int64 id", "A.Kind 0 NONE"]);
    }

    #[test]
    fn what_was_released_keeps_its_meaning() {
        assert_eq!(findings(BEFORE), [""; 0]);
        assert_eq!(findings(&BEFORE.replace("string name = 1;", "string name = 1;\n int32 new = 4;")), [""; 0]);
        assert_eq!(findings(&BEFORE.replace("string name = 1;", "reserved 1, 7;")), [""; 0]);
        for (from, to) in [
            ("string name = 1;", "bytes name = 1;"),
            ("string name = 1;", "string name = 4;"),
            ("int64 id = 3;", ""),
            ("NONE = 0", "SOME = 0"),
        ] {
            assert_eq!(findings(&BEFORE.replace(from, to)).len(), 1, "{from} → {to}");
        }
    }

    #[test]
    fn what_is_noted_reads_back() {
        let noted = "# about\nA 1 string name\nA.Kind 0 NONE\n";
        let fields = parse_released(noted);
        assert_eq!(fields.len(), 2);
        assert_eq!(fields[&("A".to_owned(), 1)], "string name");
    }
}

//! Groups of fields parted by empty lines, as parts for programs are written (RFC 3464 §2.1.1). Not responsible for what
//! fields mean.

/// The most groups that are looked at: one for the message, the others for recipients.
const MAX_GROUPS: usize = super::MAX_REPORTED + 1;
/// The most fields of one group.
const MAX_FIELDS: usize = 64;
/// The longest value, in octets. What is longer is cut off.
const MAX_VALUE_OCTETS: usize = 2048;

/// Names and unfolded values.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Group(Vec<(String, String)>);

impl Group {
    /// The value of the first field of this name.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// The values of all fields of this name.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// A value of the form `type; value`: what follows the type. Some servers leave the type out.
    pub(super) fn typed(&self, name: &str) -> Option<(&str, &str)> {
        let value = self.value(name)?;
        Some(value.split_once(';').map_or(("", value.trim()), |(kind, value)| (kind.trim(), value.trim())))
    }
}

/// The groups of a part; lines that are no fields are passed over.
pub(super) fn groups(text: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut group = Group::default();
    for line in text.lines() {
        if line.trim().is_empty() {
            if !group.0.is_empty() {
                groups.push(std::mem::take(&mut group));
            }
            if groups.len() >= MAX_GROUPS {
                return groups;
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = group.0.last_mut() {
                value.push(' ');
                push(value, line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':').filter(|_| group.0.len() < MAX_FIELDS) {
            let mut kept = String::new();
            push(&mut kept, value.trim());
            group.0.push((name.trim().to_owned(), kept));
        }
    }
    if !group.0.is_empty() {
        groups.push(group);
    }
    groups
}

fn push(value: &mut String, more: &str) {
    let room = MAX_VALUE_OCTETS.saturating_sub(value.len());
    value.push_str(more.get(..more.floor_char_boundary(room)).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_end_at_empty_lines_and_values_are_unfolded() {
        let read = groups("\nA: 1\r\nno field\nb : x; two\r\n  lines\n\n \t\nC:\n");
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].value("a"), read[0].typed("B")), (Some("1"), Some(("x", "two lines"))));
        assert_eq!((read[1].value("c"), read[1].typed("c"), read[1].value("a")), (Some(""), Some(("", "")), None));
    }

    #[test]
    fn everything_has_a_limit() {
        assert_eq!(groups(&"A: 1\n\n".repeat(1000)).len(), MAX_GROUPS);
        assert_eq!(groups(&"A: 1\n".repeat(1000))[0].0.len(), MAX_FIELDS);
        let long = format!("A: {}\n {}\n", "ü".repeat(5000), "x".repeat(5000));
        assert!(groups(&long)[0].value("a").unwrap().len() <= MAX_VALUE_OCTETS + 1);
    }
}

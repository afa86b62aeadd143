//! Paths of MAIL and RCPT (RFC 5321 §4.1.2): angle brackets and source routes. Not responsible for the mailbox inside,
//! which is `mailtier_types::Mailbox`.

/// A path and what stands after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path<'a> {
    /// What stands between the angle brackets, without a source route; empty for the null path.
    pub(crate) mailbox: &'a str,
    /// The parameters, without the spaces before them.
    pub(crate) parameters: &'a str,
}

/// Splits `<path> parameters`. Nothing where there is no such thing.
///
/// Spaces before the angle bracket are let through: many clients send them, and they can mean only one thing.
pub(crate) fn split(text: &str) -> Option<Path<'_>> {
    let inner = text.trim_start_matches(' ').strip_prefix('<')?;
    let (path, rest) = inner.split_at_checked(closing_bracket(inner)?)?;
    let rest = rest.strip_prefix('>')?;
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    Some(Path { mailbox: without_route(path)?, parameters: rest.trim_matches(' ') })
}

/// Where the angle bracket outside of quotes is. Within a quoted string a backslash takes the next octet's meaning.
fn closing_bracket(inner: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (place, octet) in inner.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(place),
            b'<' if !quoted => return None,
            _ => {}
        }
    }
    None
}

/// A source route, `@a,@b:`, is accepted and ignored (RFC 5321 §3.3, appendix C).
fn without_route(path: &str) -> Option<&str> {
    if !path.starts_with('@') {
        return Some(path);
    }
    let (route, mailbox) = path.split_once(':')?;
    let named = |hop: &str| hop.strip_prefix('@').is_some_and(|domain| !domain.is_empty() && !domain.contains('@'));
    (route.split(',').all(named) && !mailbox.is_empty()).then_some(mailbox)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_and_without_routes_and_parameters() {
        for (text, mailbox, parameters) in [
            ("<a@example.org>", "a@example.org", ""),
            (" <a@example.org>  SIZE=1  ", "a@example.org", "SIZE=1"),
            ("<>", "", ""),
            ("<> BODY=7BIT X", "", "BODY=7BIT X"),
            ("<@a.example,@b.example:c@d.example>", "c@d.example", ""),
            ("<\"a>b\"@example.org>", "\"a>b\"@example.org", ""),
            ("<\"a\\\">\"@example.org> X", "\"a\\\">\"@example.org", "X"),
            ("<Postmaster>", "Postmaster", ""),
            ("<a@[IPv6:::1]>", "a@[IPv6:::1]", ""),
        ] {
            assert_eq!(split(text), Some(Path { mailbox, parameters }), "{text}");
        }
    }

    #[test]
    fn what_is_no_path() {
        for text in [
            "",
            "a@example.org",
            "<a@example.org",
            "a@example.org>",
            "<a@example.org>SIZE=1",
            "<a@example.org>>",
            "<<a@example.org>>",
            "<@a.example>",
            "<@a.example:>",
            "<@:a@example.org>",
            "<a.example:b@example.org,@c:>x",
            "<\"a@example.org>",
        ] {
            assert_eq!(split(text), None, "{text}");
        }
    }
}

//! Addresses of RFC 5321 §4.1.2 and RFC 6531 §3.3: domains, address literals, mailboxes and reverse-paths that cannot
//! hold an illegal value. Not responsible for angle brackets, source routes or parameters: those belong to commands.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// RFC 5321 §4.5.3.1.1, in octets.
pub const MAX_LOCAL_PART_OCTETS: usize = 64;
/// RFC 5321 §4.5.3.1.2, in octets.
pub const MAX_DOMAIN_OCTETS: usize = 255;
/// RFC 5321 §4.5.3.1.3 less the angle brackets, in octets.
pub const MAX_ADDRESS_OCTETS: usize = 254;
/// RFC 1035 §2.3.4, in octets.
const MAX_LABEL_OCTETS: usize = 63;

/// What is wrong with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing there.
    #[error("address is empty")]
    Empty,
    /// No `@`.
    #[error("address has no @ and domain")]
    NoDomain,
    /// The part before the `@`.
    #[error("local part is not a dot-string or quoted string")]
    LocalPart,
    /// Longer than [`MAX_LOCAL_PART_OCTETS`].
    #[error("local part is longer than 64 octets")]
    LocalPartTooLong,
    /// The part after the `@`.
    #[error("domain is not valid")]
    Domain,
    /// Longer than [`MAX_DOMAIN_OCTETS`].
    #[error("domain is longer than 255 octets")]
    DomainTooLong,
    /// Longer than [`MAX_ADDRESS_OCTETS`].
    #[error("address is longer than 254 octets")]
    TooLong,
    /// Square brackets without an address in them.
    #[error("address literal is not valid")]
    Literal,
}

/// A domain name in its ASCII form (A-labels, lower case) or an address literal in its canonical form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

impl Domain {
    /// Parses a domain or address literal. Internationalised names become A-labels (UTS-46), so that equal names are
    /// equal values.
    ///
    /// # Errors
    /// [`AddressError`] names what is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        canonical_domain(text).map(|ascii| Self(ascii.into()))
    }

    /// The ASCII form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, where this is an address literal.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        let inner = self.0.strip_prefix('[')?.strip_suffix(']')?;
        match inner.strip_prefix("IPv6:") {
            Some(v6) => v6.parse().ok().map(IpAddr::V6),
            None => inner.parse().ok().map(IpAddr::V4),
        }
    }
}

/// See [`Domain::parse`]. What is canonical already, as most domains are, is not copied.
fn canonical_domain(text: &str) -> Result<Cow<'_, str>, AddressError> {
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    if let Some(inner) = text.strip_prefix('[') {
        return parse_literal(inner.strip_suffix(']').ok_or(AddressError::Literal)?).map(Cow::Owned);
    }
    let ascii = if !text.is_ascii() {
        idna::domain_to_ascii_strict(text).map(Cow::Owned).map_err(|_| AddressError::Domain)?
    } else if text.bytes().any(|octet| octet.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    };
    if ascii.len() > MAX_DOMAIN_OCTETS {
        return Err(AddressError::DomainTooLong);
    }
    if !ascii.split('.').all(is_label) {
        return Err(AddressError::Domain);
    }
    Ok(ascii)
}

/// A letter-digit-hyphen label (RFC 5321 §4.1.2 `sub-domain`); underscores occur in host names in the wild and are
/// let through, since refusing them loses mail and nothing is gained.
fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    bytes.len() <= MAX_LABEL_OCTETS
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// RFC 5321 §4.1.3.
fn parse_literal(inner: &str) -> Result<String, AddressError> {
    let has_v6_tag = inner.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    if has_v6_tag {
        let address: Ipv6Addr = inner.get(5..).unwrap_or_default().parse().map_err(|_| AddressError::Literal)?;
        Ok(format!("[IPv6:{address}]"))
    } else {
        let address: Ipv4Addr = inner.parse().map_err(|_| AddressError::Literal)?;
        Ok(format!("[{address}]"))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// A mailbox, `local-part@domain`. The local part keeps its case and is written as a quoted string only where it must
/// be, so that `"a b"@x` and `"a\ b"@x`, which mean the same, are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox {
    /// The whole address in its canonical form.
    text: Box<str>,
    /// Where the `@` before the domain is.
    at: usize,
}

impl Mailbox {
    /// Parses a mailbox without angle brackets.
    ///
    /// # Errors
    /// [`AddressError`] names what is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let (local, domain) = split_at_domain(text)?;
        if domain.is_empty() {
            return Err(AddressError::NoDomain);
        }
        Self::assemble(local, &canonical_domain(domain)?)
    }

    /// From a local part as it stands in an address (quoted or not) and a domain.
    ///
    /// # Errors
    /// [`AddressError`] names what is wrong with the local part.
    pub fn from_parts(local: &str, domain: &Domain) -> Result<Self, AddressError> {
        Self::assemble(local, domain.as_str())
    }

    /// `domain` is in its canonical form.
    fn assemble(local: &str, domain: &str) -> Result<Self, AddressError> {
        if local.len() > MAX_LOCAL_PART_OCTETS {
            return Err(AddressError::LocalPartTooLong);
        }
        let local = if is_dot_string(local) {
            Cow::Borrowed(local)
        } else {
            let content = unquote(local).ok_or(AddressError::LocalPart)?;
            Cow::Owned(if is_dot_string(&content) { content } else { quote(&content) })
        };
        let octets = local.len() + 1 + domain.len();
        if octets > MAX_ADDRESS_OCTETS {
            return Err(AddressError::TooLong);
        }
        let mut text = String::with_capacity(octets);
        for part in [&*local, "@", domain] {
            text.push_str(part);
        }
        Ok(Self { text: text.into_boxed_str(), at: local.len() })
    }

    /// The whole address, as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The canonical text, without a copy.
    #[must_use]
    pub fn into_string(self) -> String {
        self.text.into_string()
    }

    /// The local part as it is sent, with quotes where it needs them.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The domain.
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain(self.domain_str().into())
    }

    /// The domain's ASCII form.
    #[must_use]
    pub fn domain_str(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// Whether it can be sent only with SMTPUTF8 (RFC 6531 §3.3); the domain is always ASCII here.
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        !self.text.is_ascii()
    }
}

/// Splits at the `@` that ends the local part: the first one outside quotes.
fn split_at_domain(text: &str) -> Result<(&str, &str), AddressError> {
    if !text.starts_with('"') {
        return text.split_once('@').ok_or(AddressError::NoDomain);
    }
    let mut escaped = false;
    for (place, octet) in text.bytes().enumerate().skip(1) {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => {
                let (local, rest) = text.split_at_checked(place + 1).ok_or(AddressError::LocalPart)?;
                return rest.strip_prefix('@').map(|domain| (local, domain)).ok_or(AddressError::NoDomain);
            }
            _ => {}
        }
    }
    Err(AddressError::LocalPart)
}

/// RFC 5321 §4.1.2 `Dot-string` over RFC 5322 `atext`, with RFC 6531's UTF-8.
fn is_dot_string(local: &str) -> bool {
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

fn is_atext(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || matches!(
            character,
            '!' | '#'..='\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^'..='`' | '{'..='~'
        )
        || (!character.is_ascii() && !character.is_control())
}

/// The content of a quoted string (RFC 5321 §4.1.2 `Quoted-string`), or nothing where it is none.
fn unquote(local: &str) -> Option<String> {
    let inner = local.strip_prefix('"')?.strip_suffix('"')?;
    let mut content = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        let character = match character {
            '\\' => characters.next().filter(char::is_ascii)?,
            '"' => return None,
            other => other,
        };
        if character.is_control() {
            return None;
        }
        content.push(character);
    }
    Some(content)
}

fn quote(content: &str) -> String {
    let mut quoted = String::with_capacity(content.len() + 4);
    quoted.push('"');
    for character in content.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

impl FromStr for Mailbox {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// Where failures of a message are reported: a mailbox, or nowhere (RFC 5321 §4.5.5).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReversePath {
    /// `<>`: notifications, which are never answered.
    Null,
    /// A mailbox.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Parses a mailbox; the empty text is the null reverse-path.
    ///
    /// # Errors
    /// [`AddressError`] names what is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() { Ok(Self::Null) } else { Mailbox::parse(text).map(Self::Mailbox) }
    }

    /// The address without angle brackets; empty for the null reverse-path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Null => "",
            Self::Mailbox(mailbox) => mailbox.as_str(),
        }
    }

    /// The text, empty for the null reverse-path, without a copy.
    #[must_use]
    pub fn into_string(self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Mailbox(mailbox) => mailbox.into_string(),
        }
    }

    /// The mailbox, where there is one.
    #[must_use]
    pub const fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Null => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }

    /// Whether it is `<>`.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

/// With its angle brackets, as in commands and logs.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.as_str())
    }
}

impl fmt::Debug for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_legal() {
        for (given, canonical) in [
            ("user@example.com", "user@example.com"),
            ("User@EXAMPLE.com", "User@example.com"),
            ("\"user\"@example.com", "user@example.com"),
            ("\"a b\"@example.com", "\"a b\"@example.com"),
            ("\"a\\ b\"@example.com", "\"a b\"@example.com"),
            ("\"a@b\"@example.com", "\"a@b\"@example.com"),
            ("\"\"@example.com", "\"\"@example.com"),
            ("a@[192.0.2.1]", "a@[192.0.2.1]"),
            ("a@[ipv6:2001:DB8::1]", "a@[IPv6:2001:db8::1]"),
            ("a@bücher.example", "a@xn--bcher-kva.example"),
            ("пользователь@example.com", "пользователь@example.com"),
            ("a%b@example.com", "a%b@example.com"),
            ("a@localhost", "a@localhost"),
        ] {
            let mailbox = Mailbox::parse(given).unwrap();
            assert_eq!(mailbox.as_str(), canonical);
            assert_eq!(Mailbox::parse(mailbox.as_str()).unwrap(), mailbox, "canonical forms are stable");
        }
    }

    #[test]
    fn addresses_that_are_not() {
        for given in [
            "",
            "user",
            "@example.com",
            "user@",
            "a b@example.com",
            ".a@example.com",
            "a.@example.com",
            "a..b@example.com",
            "a@b@example.com",
            "a@example..com",
            "a@-example.com",
            "a@example-.com",
            "a@example.com.",
            "\"a@example.com",
            "\"a\"b@example.com",
            "\"a\u{1}\"@example.com",
            "a@[300.0.0.1]",
            "a@[::1]",
            "a@[IPv6:zz]",
            "a@[192.0.2.1",
            "a\0@example.com",
            "a@exa\u{0}mple.com",
            "a\r\n@example.com",
            "<a@example.com>",
            "a@exam ple.com",
            "a,b@example.com",
            "a@ex\u{200b}ample\u{2028}.com",
        ] {
            assert!(Mailbox::parse(given).is_err(), "{given:?}");
        }
    }

    #[test]
    fn lengths_are_those_of_rfc_5321() {
        assert!(Mailbox::parse(&format!("{}@example.com", "a".repeat(64))).is_ok());
        assert_eq!(Mailbox::parse(&format!("{}@example.com", "a".repeat(65))), Err(AddressError::LocalPartTooLong));
        assert!(Domain::parse(&format!("{}.example", "a".repeat(63))).is_ok());
        assert_eq!(Domain::parse(&format!("{}.example", "a".repeat(64))), Err(AddressError::Domain));
        let long = vec!["a".repeat(60); 5].join(".");
        assert_eq!(Domain::parse(&long), Err(AddressError::DomainTooLong));
    }

    #[test]
    fn atoms_have_the_characters_of_rfc_5322() {
        for octet in 0..=0x7f_u8 {
            let is_listed = octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet);
            assert_eq!(is_atext(char::from(octet)), is_listed, "{octet:#x}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics_and_canonical_forms_are_stable(text in "\\PC{0,80}") {
            if let Ok(mailbox) = Mailbox::parse(&text) {
                proptest::prop_assert_eq!(Mailbox::parse(mailbox.as_str()).unwrap(), mailbox);
            }
        }
    }
}

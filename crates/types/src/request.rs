//! What a sender asks for beside delivery: notifications (RFC 3461), a time limit (RFC 2852). Not responsible for the
//! parameters these came in, nor for honouring them.

use std::fmt;
use std::str::FromStr;

use crate::address::Mailbox;
use crate::timestamp::Timestamp;

/// RFC 3461 §4.4, in octets as sent.
pub const MAX_ENVELOPE_ID_OCTETS: usize = 100;
/// RFC 3461 §4.2, in octets as sent.
pub const MAX_ORIGINAL_RECIPIENT_OCTETS: usize = 500;

/// A value is not of the form its RFC gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct InvalidRequest(&'static str);

/// Of which events a recipient's sender wants to hear (RFC 3461 §4.1). No event: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Notify {
    /// Delivery, or relay to a host that does not notify.
    pub success: bool,
    /// Failure.
    pub failure: bool,
    /// Delay.
    pub delay: bool,
}

impl Notify {
    /// NOTIFY=NEVER.
    pub const NEVER: Self = Self { success: false, failure: false, delay: false };
    /// What holds where nothing was said (RFC 3461 §4.1): failure, and delay as local policy has it.
    pub const DEFAULT: Self = Self { success: false, failure: true, delay: true };
}

/// As the parameter's value.
impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("NEVER");
        }
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let mut separator = "";
        for (_, word) in words.iter().filter(|(asked, _)| *asked) {
            write!(f, "{separator}{word}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl FromStr for Notify {
    type Err = InvalidRequest;

    /// NEVER alone, or a list of the others, in any case.
    fn from_str(text: &str) -> Result<Self, InvalidRequest> {
        if text.eq_ignore_ascii_case("NEVER") {
            return Ok(Self::NEVER);
        }
        let mut notify = Self::NEVER;
        for word in text.split(',') {
            let asked = if word.eq_ignore_ascii_case("SUCCESS") {
                &mut notify.success
            } else if word.eq_ignore_ascii_case("FAILURE") {
                &mut notify.failure
            } else if word.eq_ignore_ascii_case("DELAY") {
                &mut notify.delay
            } else {
                return Err(InvalidRequest("NOTIFY"));
            };
            *asked = true;
        }
        Ok(notify)
    }
}

/// How much of the message a notification of failure returns (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Return {
    /// All of it.
    Full,
    /// Its header section.
    Headers,
}

impl Return {
    /// As the parameter's value.
    #[must_use]
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        }
    }
}

/// What the sender calls the transaction (RFC 3461 §4.4), decoded: printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvelopeId(Box<str>);

impl EnvelopeId {
    /// From its decoded form.
    ///
    /// # Errors
    /// Empty, too long as sent, or not printable ASCII.
    pub fn new(text: &str) -> Result<Self, InvalidRequest> {
        let is_printable = text.bytes().all(|octet| (b' '..=b'~').contains(&octet));
        let fits = xtext_octets(text) <= MAX_ENVELOPE_ID_OCTETS;
        if text.is_empty() || !is_printable || !fits { Err(InvalidRequest("ENVID")) } else { Ok(Self(text.into())) }
    }

    /// As in a notification.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The recipient as the sender wrote it (RFC 3461 §4.2, RFC 6533 §3), decoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginalRecipient {
    kind: Box<str>,
    address: Box<str>,
}

impl OriginalRecipient {
    /// An address type, such as `rfc822`, and the address.
    ///
    /// # Errors
    /// The type is no atom, or the address is empty, too long or has control characters.
    pub fn new(kind: &str, address: &str) -> Result<Self, InvalidRequest> {
        let is_atom = !kind.is_empty() && kind.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
        let fits = kind.len() + 1 + xtext_octets(address) <= MAX_ORIGINAL_RECIPIENT_OCTETS;
        if !is_atom || address.is_empty() || address.chars().any(char::is_control) || !fits {
            return Err(InvalidRequest("ORCPT"));
        }
        Ok(Self { kind: kind.into(), address: address.into() })
    }

    /// `rfc822`, `utf-8` …
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// As in the Original-Recipient field of a notification (RFC 3464 §2.3.1).
impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.kind, self.address)
    }
}

/// What was asked for one recipient; only where something was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientRequest {
    /// Whom it concerns.
    pub recipient: Mailbox,
    /// NOTIFY.
    pub notify: Option<Notify>,
    /// ORCPT.
    pub original: Option<OriginalRecipient>,
}

/// What happens when a message is not delivered in time (RFC 2852 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByMode {
    /// It is returned.
    Return,
    /// Its sender is told, and it is tried on.
    Notify,
}

impl ByMode {
    /// As in the parameter's value.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Return => 'R',
            Self::Notify => 'N',
        }
    }
}

/// Until when a message is to be delivered (RFC 2852).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliverBy {
    /// The limit.
    pub at: Timestamp,
    /// What happens then.
    pub mode: ByMode,
    /// Each relay is reported to the sender.
    pub trace: bool,
}

/// Octets of a text as xtext.
fn xtext_octets(text: &str) -> usize {
    text.bytes().map(|octet| if is_xchar(octet) { 1 } else { 3 }).sum()
}

/// RFC 3461 §4: any printable octet but `+` and `=`.
const fn is_xchar(octet: u8) -> bool {
    matches!(octet, b'!'..=b'~') && octet != b'+' && octet != b'='
}

/// Encodes as xtext (RFC 3461 §4).
#[must_use]
pub fn xtext(text: &str) -> String {
    use fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, octet| {
        if is_xchar(octet) {
            encoded.push(char::from(octet));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "+{octet:02X}");
        }
        encoded
    })
}

/// Decodes xtext (RFC 3461 §4); octets beyond ASCII may stand for themselves, as Postfix takes them in XCLIENT.
///
/// # Errors
/// A `+` without two hexadecimal digits (upper case in the RFC, lower case tolerated), an octet xtext cannot have, or
/// a result that is not UTF-8.
pub fn from_xtext(text: &str) -> Result<String, InvalidRequest> {
    let invalid = InvalidRequest("xtext");
    let (mut decoded, mut octets) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(octet) = octets.next() {
        decoded.push(match octet {
            b'+' => {
                let mut digit = || octets.next().and_then(|octet| char::from(octet).to_digit(16)).ok_or(invalid);
                u8::try_from(digit()? * 16 + digit()?).map_err(|_| invalid)?
            }
            octet if is_xchar(octet) || !octet.is_ascii() => octet,
            _ => return Err(invalid),
        });
    }
    String::from_utf8(decoded).map_err(|_| invalid)
}

/// Decodes a `utf-8` address of ORCPT (RFC 6533 §3): `\x{…}` stands for a character, and characters beyond ASCII stand
/// for themselves.
///
/// # Errors
/// A backslash that begins nothing else, or an octet the form cannot have.
pub fn from_utf8_addr(text: &str) -> Result<String, InvalidRequest> {
    let invalid = InvalidRequest("ORCPT");
    let (mut decoded, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(character) = rest.chars().next() {
        if character == '\\' {
            let (digits, after) = rest.strip_prefix("\\x{").and_then(|rest| rest.split_once('}')).ok_or(invalid)?;
            let is_hex = (2..=6).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_hexdigit());
            let number = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex).ok_or(invalid)?;
            decoded.push(char::from_u32(number).ok_or(invalid)?);
            rest = after;
        } else if !character.is_ascii() || u8::try_from(character).is_ok_and(is_xchar) {
            decoded.push(character);
            rest = rest.get(character.len_utf8()..).unwrap_or_default();
        } else {
            return Err(invalid);
        }
    }
    Ok(decoded)
}

/// Encodes an address as `utf-8` for a transaction without SMTPUTF8 (RFC 6533 §3, `utf-8-addr-xtext`).
#[must_use]
pub fn utf8_addr_xtext(text: &str) -> String {
    use fmt::Write as _;
    text.chars().fold(String::with_capacity(text.len()), |mut encoded, character| {
        if u8::try_from(character).is_ok_and(|octet| is_xchar(octet) && octet != b'\\') {
            encoded.push(character);
        } else {
            let _ = write!(encoded, "\\x{{{:02X}}}", u32::from(character));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify_is_never_alone_or_a_list() {
        for (text, shown) in
            [("never", "NEVER"), ("FAILURE", "FAILURE"), ("delay,success,failure", "SUCCESS,FAILURE,DELAY")]
        {
            let notify: Notify = text.parse().unwrap();
            assert_eq!(notify.to_string(), shown);
            assert_eq!(shown.parse::<Notify>().unwrap(), notify);
        }
        for bad in ["", "NEVER,FAILURE", "FAILURE,", "SOMETIMES", "FAILURE DELAY"] {
            assert!(bad.parse::<Notify>().is_err(), "{bad}");
        }
    }

    #[test]
    fn xtext_is_that_of_rfc_3461() {
        assert_eq!(from_xtext("a+2Bb+3dc").unwrap(), "a+b=c");
        assert_eq!(xtext("a+b=c d"), "a+2Bb+3Dc+20d");
        for bad in ["+", "+2", "+2x", "a=b", "a b", "+FF"] {
            assert!(from_xtext(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn utf8_addresses_are_those_of_rfc_6533() {
        assert_eq!(from_utf8_addr("\\x{443}\\x{5C}@example.org").unwrap(), "у\\@example.org");
        assert_eq!(from_utf8_addr("пользователь@example.org").unwrap(), "пользователь@example.org");
        assert_eq!(utf8_addr_xtext("у+\\"), "\\x{443}\\x{2B}\\x{5C}");
        for bad in ["\\x{}", "\\x{110000}", "\\x{D800}", "\\y", "a b", "\\x{41"] {
            assert!(from_utf8_addr(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_and_recipients_have_their_limits() {
        assert!(EnvelopeId::new(&"a".repeat(100)).is_ok());
        for bad in ["", "a\nb", "ä", &"a".repeat(101), &"+".repeat(34)] {
            assert!(EnvelopeId::new(bad).is_err(), "{bad}");
        }
        assert_eq!(OriginalRecipient::new("rfc822", "a@b").unwrap().to_string(), "rfc822;a@b");
        for (kind, address) in
            [("", "a"), ("rfc 822", "a"), ("rfc822", ""), ("rfc822", "a\r\nb"), ("x", &"a".repeat(499))]
        {
            assert!(OriginalRecipient::new(kind, address).is_err(), "{kind};{address}");
        }
    }

    proptest::proptest! {
        #[test]
        fn encodings_are_read_back(text in "\\PC{0,80}") {
            proptest::prop_assert_eq!(from_xtext(&xtext(&text)).unwrap(), text.clone());
            proptest::prop_assert_eq!(from_utf8_addr(&utf8_addr_xtext(&text)).unwrap(), text);
        }
    }
}

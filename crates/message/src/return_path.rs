//! Signed return paths: reverse-paths that say, to us alone, which message went where, and to whom (VERP and BATV in one). A
//! bounce comes back to one, and is known by it whatever it says; nobody else can make one.
//!
//! A return path is `bounces+<token>@<domain>`. The token is 30 octets in base 32, or 25 where recipients share it. Base 32
//! survives whoever writes a local part in upper or lower case (RFC 5321 §2.4 has it kept, and not everybody keeps it): that
//! makes 56 octets of the 64 that a local part may have (§4.5.3.1.1). The token is sealed as a synthetic initialization
//! vector does it (RFC 5297, with HMAC-SHA-256 in place of AES): an authenticator of 80 bits over what it says, which also
//! keys the mask that hides it. So it tells strangers neither message nor tenant, and whoever guesses has one chance in 2^80
//! with each attempt, which is an SMTP transaction.
//!
//! When a token was made is that of its message, so its age needs no room. Not responsible for whose mail has one.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest, hmac};
use mailtier_types::{DeliveryId, Domain, Mailbox, MessageId, TenantId, Timestamp};

/// What stands before the token.
const PREFIX: &str = "bounces+";
/// Octets of the authenticator.
const TAG_OCTETS: usize = 10;
/// Octets of what is said of a delivery: a version, the message, which of its deliveries, the tenant.
const SHARED_OCTETS: usize = 15;
/// Octets that tell a recipient from others of its delivery, said after that.
const MARK_OCTETS: usize = 5;
/// Octets of a token at the most.
const TOKEN_OCTETS: usize = TAG_OCTETS + SHARED_OCTETS + MARK_OCTETS;
/// Characters of it: five bits each.
const TOKEN_CHARACTERS: usize = TOKEN_OCTETS * 8 / 5;
/// The first octet of what is said where recipients share the return path.
const SHARED: u8 = 1;
/// The first octet of what is said of one recipient.
const OWN: u8 = 2;
/// RFC 4648 §6, in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// The shortest secret, in octets: with fewer it could be guessed offline from one return path.
pub const MIN_SECRET_OCTETS: usize = 32;
/// The most keys at a time.
pub const MAX_KEYS: usize = 8;

const _: () = assert!(PREFIX.len() + TOKEN_CHARACTERS <= 64, "RFC 5321 section 4.5.3.1.1");
const _: () =
    assert!((TOKEN_OCTETS * 8).is_multiple_of(5) && (MARK_OCTETS * 8).is_multiple_of(5), "no bits are left over");

/// What a return path says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// Which message went out.
    pub message: MessageId,
    /// Which of its deliveries.
    pub delivery: DeliveryId,
    /// Whose mail it is.
    pub tenant: TenantId,
    /// Who of the recipients of that delivery; nothing where all of them share the return path.
    pub recipient: Option<RecipientMark>,
}

/// What tells a recipient from the others of a delivery without naming it: 40 bits of a digest of its address. Which
/// recipients there are says the history; a sender who has two recipients with one mark has spoilt nobody's but its own
/// reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecipientMark([u8; MARK_OCTETS]);

impl RecipientMark {
    /// Of a recipient of this message, in whatever case it is written.
    #[must_use]
    pub fn of(message: MessageId, recipient: &Mailbox) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&message.as_i64().to_be_bytes());
        context.update(recipient.as_str().to_lowercase().as_bytes());
        Self(context.finish().as_ref().first_chunk().copied().unwrap_or_default())
    }
}

/// What an address is among return paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is at another domain, or is none of ours by its form.
    None,
    /// It looks like one of ours, and is not: forged, mangled, or made with a key that is gone.
    Forged,
    /// It was ours, and its time is over.
    Expired,
    /// It is ours.
    Genuine(Returned),
}

/// Why keys cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// There is none.
    #[error("has no key: give one a line, such as `openssl rand -hex 32` prints")]
    None,
    /// There are more than [`MAX_KEYS`].
    #[error("has more than {MAX_KEYS} keys: take out those that sign nothing any more")]
    TooMany,
    /// One is too short.
    #[error(
        "has a key of fewer than {MIN_SECRET_OCTETS} characters in line {0}: give one such as `openssl rand -hex 32` prints"
    )]
    TooShort(usize),
}

/// Makes and knows return paths.
pub struct ReturnPaths {
    domain: Domain,
    /// The first signs.
    keys: Vec<Keys>,
    lifetime: Duration,
}

/// Of one secret: what authenticates and what hides.
struct Keys {
    tag: hmac::Key,
    mask: hmac::Key,
}

/// Keys are not shown.
impl fmt::Debug for ReturnPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReturnPaths").field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl ReturnPaths {
    /// At this domain, with secrets one a line: the first signs, all are known. A return path is taken back for `lifetime`
    /// after its message was accepted.
    ///
    /// # Errors
    /// There are no keys, too many, or one that is too short.
    pub fn new(domain: Domain, secrets: &str, lifetime: Duration) -> Result<Self, BadKeys> {
        let lines = secrets.lines().map(str::trim).zip(1_usize..);
        let mut keys = Vec::new();
        for (secret, line) in lines.filter(|(secret, _)| !secret.is_empty() && !secret.starts_with('#')) {
            if secret.len() < MIN_SECRET_OCTETS {
                return Err(BadKeys::TooShort(line));
            }
            keys.push(Keys::of(secret, &domain));
        }
        match keys.len() {
            0 => Err(BadKeys::None),
            count if count > MAX_KEYS => Err(BadKeys::TooMany),
            _ => Ok(Self { domain, keys, lifetime }),
        }
    }

    /// The domain.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The return path of a delivery, or of one of its recipients; nothing where its id is none of its message's.
    #[must_use]
    pub fn sign(&self, returned: Returned) -> Option<Mailbox> {
        let keys = self.keys.first()?;
        let mut said = said(returned)?;
        let tag = keys.tag_of(&said);
        keys.mask(&tag, &mut said);
        let token = encoded([tag.as_slice(), said.as_slice()].concat().as_slice());
        Mailbox::from_parts(&format!("{PREFIX}{token}"), &self.domain).ok()
    }

    /// What an address is.
    #[must_use]
    pub fn judge(&self, address: &Mailbox, now: Timestamp) -> Claim {
        if address.domain_str() != self.domain.as_str() {
            return Claim::None;
        }
        self.judge_local(address.local_part(), now)
    }

    /// The same of a text that stands somewhere in a report.
    #[must_use]
    pub fn judge_text(&self, address: &str, now: Timestamp) -> Claim {
        match address.rsplit_once('@') {
            Some((local, domain)) if domain.eq_ignore_ascii_case(self.domain.as_str()) => self.judge_local(local, now),
            _ => Claim::None,
        }
    }

    fn judge_local(&self, local: &str, now: Timestamp) -> Claim {
        let Some((prefix, token)) = local.split_at_checked(PREFIX.len()) else { return Claim::None };
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return Claim::None;
        }
        let Some(returned) = decoded(token).and_then(|token| self.open(&token)) else { return Claim::Forged };
        match returned.message.made_at().after(self.lifetime) < now {
            true => Claim::Expired,
            false => Claim::Genuine(returned),
        }
    }

    /// What a token says, by whichever key it was made with.
    fn open(&self, token: &[u8]) -> Option<Returned> {
        let (tag, masked) = token.split_first_chunk::<TAG_OCTETS>()?;
        self.keys.iter().find_map(|keys| {
            let mut said = masked.to_vec();
            keys.mask(tag, &mut said);
            constant_time::verify_slices_are_equal(tag, &keys.tag_of(&said)).ok()?;
            returned(&said)
        })
    }
}

impl Keys {
    /// The domain is part of what is signed: the same secret at another is another key.
    fn of(secret: &str, domain: &Domain) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let derived = |purpose: &str| {
            let octets = hmac::sign(&root, format!("mailtier return path {purpose} {domain}").as_bytes());
            hmac::Key::new(hmac::HMAC_SHA256, octets.as_ref())
        };
        Self { tag: derived("tag"), mask: derived("mask") }
    }

    fn tag_of(&self, said: &[u8]) -> [u8; TAG_OCTETS] {
        let whole = hmac::sign(&self.tag, said);
        whole.as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// Hides what is said, or shows it again. The mask is longer than what it is for.
    fn mask(&self, tag: &[u8; TAG_OCTETS], said: &mut [u8]) {
        let mask = hmac::sign(&self.mask, tag);
        said.iter_mut().zip(mask.as_ref()).for_each(|(octet, mask)| *octet ^= mask);
    }
}

fn said(returned: Returned) -> Option<Vec<u8>> {
    let ordinal = returned.delivery.as_i64().checked_sub(returned.message.as_i64())?;
    let ordinal = u16::try_from(ordinal).ok()?.to_be_bytes();
    let (message, tenant) = (returned.message.as_i64().to_be_bytes(), returned.tenant.0.to_be_bytes());
    let (kind, mark) = match &returned.recipient {
        Some(RecipientMark(mark)) => (OWN, mark.as_slice()),
        None => (SHARED, [].as_slice()),
    };
    Some([[kind].as_slice(), &message, &ordinal, &tenant, mark].concat())
}

fn returned(said: &[u8]) -> Option<Returned> {
    let (&[kind], rest) = said.split_first_chunk::<1>()?;
    let (message, rest) = rest.split_first_chunk::<8>()?;
    let (ordinal, rest) = rest.split_first_chunk::<2>()?;
    let (tenant, mark) = rest.split_first_chunk::<4>()?;
    let recipient = match kind {
        SHARED if mark.is_empty() => None,
        OWN => Some(RecipientMark(mark.try_into().ok()?)),
        _ => return None,
    };
    let message = MessageId::from_i64(i64::from_be_bytes(*message)).ok()?;
    let delivery = message.delivery(u16::from_be_bytes(*ordinal));
    Some(Returned { message, delivery, tenant: TenantId(i32::from_be_bytes(*tenant)), recipient })
}

fn encoded(token: &[u8]) -> String {
    let (mut text, mut bits, mut held) = (String::with_capacity(TOKEN_CHARACTERS), 0_u32, 0_u32);
    for octet in token {
        (bits, held) = ((bits << 8) | u32::from(*octet), held + 8);
        while held >= 5 {
            held -= 5;
            let index = usize::try_from((bits >> held) & 31).unwrap_or_default();
            text.push(char::from(ALPHABET.get(index).copied().unwrap_or_default()));
        }
        bits &= (1 << held) - 1;
    }
    text
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    if text.len() > TOKEN_CHARACTERS {
        return None;
    }
    let (mut token, mut bits, mut held) = (Vec::with_capacity(TOKEN_OCTETS), 0_u32, 0_u32);
    for character in text.bytes() {
        let index = ALPHABET.iter().position(|known| *known == character.to_ascii_lowercase())?;
        (bits, held) = ((bits << 5) | u32::try_from(index).ok()?, held + 5);
        if held >= 8 {
            held -= 8;
            token.push(u8::try_from((bits >> held) & 255).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    // Bits of no octet would make several texts of one token.
    (held == 0).then_some(token)
}

#[cfg(test)]
mod tests {
    use mailtier_types::{IdSource, NodeNumber};
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn secret(character: char) -> String {
        character.to_string().repeat(32)
    }

    fn paths(secrets: &[char]) -> ReturnPaths {
        let secrets: Vec<String> = secrets.iter().map(|character| secret(*character)).collect();
        ReturnPaths::new(Domain::parse("Bounces.example.com").unwrap(), &secrets.join("\n"), DAY).unwrap()
    }

    fn example() -> Returned {
        let message = IdSource::new(NodeNumber::new(3).unwrap()).take(9, NOW);
        let recipient = Some(RecipientMark::of(message, &Mailbox::parse("a@b.example").unwrap()));
        Returned { message, delivery: message.delivery(7), tenant: TenantId(42), recipient }
    }

    #[test]
    fn a_return_path_is_known_again_in_any_case() {
        let paths = paths(&['a']);
        let address = paths.sign(example()).unwrap();
        assert!(address.local_part().len() <= 64 && address.domain_str() == "bounces.example.com", "{address}");
        assert_eq!(paths.judge(&address, NOW), Claim::Genuine(example()));
        for text in [address.as_str().to_uppercase(), address.as_str().to_lowercase()] {
            assert_eq!(paths.judge_text(&text, NOW), Claim::Genuine(example()));
            assert_eq!(paths.judge(&Mailbox::parse(&text).unwrap(), NOW), Claim::Genuine(example()));
        }
    }

    #[test]
    fn nothing_of_it_can_be_changed() {
        let paths = paths(&['a']);
        let address = paths.sign(example()).unwrap().to_string();
        let token = PREFIX.len()..PREFIX.len() + TOKEN_CHARACTERS;
        for place in token {
            for other in ["a", "b", "7", "8", "-"] {
                let mut changed = address.clone();
                changed.replace_range(place..=place, other);
                let expected = if changed == address { Claim::Genuine(example()) } else { Claim::Forged };
                assert_eq!(paths.judge_text(&changed, NOW), expected, "{changed}");
            }
        }
        for forged in ["bounces+@bounces.example.com", "bounces+aaaa@bounces.example.com"] {
            assert_eq!(paths.judge_text(forged, NOW), Claim::Forged);
        }
        for other in ["bounces@bounces.example.com", "a@b.example", &address.replace("example.com", "example.org")] {
            assert_eq!(paths.judge_text(other, NOW), Claim::None, "{other}");
        }
    }

    #[test]
    fn it_says_nothing_to_strangers_and_is_another_for_each_delivery_and_each_recipient() {
        let paths = paths(&['a']);
        let of = |ordinal, recipient: &str| {
            let example = example();
            let recipient = Mailbox::parse(recipient).ok().map(|one| RecipientMark::of(example.message, &one));
            let delivery = example.message.delivery(ordinal);
            paths.sign(Returned { delivery, recipient, ..example }).unwrap().to_string()
        };
        let first = of(0, "a@b.example");
        assert!(of(0, "").len() < first.len(), "which is shared by all recipients");
        for second in [of(1, "a@b.example"), of(0, "c@b.example"), of(0, "")] {
            let pairs = first.bytes().zip(second.bytes()).skip(PREFIX.len()).take(TOKEN_CHARACTERS);
            assert!(pairs.filter(|(a, b)| a == b).count() < TOKEN_CHARACTERS / 3, "{first} {second}");
        }
        assert_eq!(first, of(0, "A@B.example"), "attempts of one delivery have one return path");
    }

    #[test]
    fn a_recipient_is_told_from_another_and_that_of_another_message() {
        let mark = |message, recipient: &str| RecipientMark::of(message, &Mailbox::parse(recipient).unwrap());
        let message = example().message;
        let other = IdSource::new(NodeNumber::new(4).unwrap()).take(9, NOW);
        assert_eq!(mark(message, "User@B.example"), mark(message, "user@b.example"));
        assert_ne!(mark(message, "user@b.example"), mark(message, "user2@b.example"));
        assert_ne!(mark(message, "user@b.example"), mark(other, "user@b.example"));
    }

    /// Mail that went out under these is still bounced.
    #[test]
    fn tokens_of_before_there_were_recipients_in_them_are_read() {
        let shared = Returned { recipient: None, ..example() };
        let address = paths(&['a']).sign(shared).unwrap();
        assert_eq!(address.as_str(), "bounces+l362lu2uie4lstcd46lbzksqy2r4k7gh54oc72ns@bounces.example.com");
        assert_eq!(paths(&['a']).judge(&address, NOW), Claim::Genuine(shared));
    }

    #[test]
    fn its_time_is_that_of_the_message() {
        let paths = paths(&['a']);
        let address = paths.sign(example()).unwrap();
        assert_eq!(paths.judge(&address, NOW.after(DAY)), Claim::Genuine(example()));
        assert_eq!(paths.judge(&address, NOW.after(DAY + Duration::from_millis(1))), Claim::Expired);
    }

    #[test]
    fn keys_are_rotated_by_writing_a_new_one_first() {
        let old = paths(&['a']).sign(example()).unwrap();
        let rotated = paths(&['b', 'a']);
        assert_eq!(rotated.judge(&old, NOW), Claim::Genuine(example()));
        let new = rotated.sign(example()).unwrap();
        assert_ne!(new, old);
        assert_eq!(paths(&['a']).judge(&new, NOW), Claim::Forged);
        assert_eq!(paths(&['b']).judge(&new, NOW), Claim::Genuine(example()));
        assert_eq!(paths(&['b']).judge(&old, NOW), Claim::Forged, "the old key is gone");
    }

    #[test]
    fn keys_that_protect_nothing_are_refused() {
        let of = |secrets: &str| ReturnPaths::new(Domain::parse("b.example").unwrap(), secrets, DAY).map(|_| ());
        assert_eq!(of(""), Err(BadKeys::None));
        assert_eq!(of("# a comment\n\n"), Err(BadKeys::None));
        assert_eq!(of(&format!("{}\nshort\n", secret('a'))), Err(BadKeys::TooShort(2)));
        assert_eq!(of(&format!("{}\n", secret('a')).repeat(9)), Err(BadKeys::TooMany));
        assert_eq!(of(&format!("# the new one\n{}\n\n{}\n", secret('a'), secret('b'))), Ok(()));
    }

    proptest! {
        #[test]
        fn whatever_is_signed_reads_back(
            message in 1_i64..i64::MAX - 4096,
            ordinal in 0_u16..4096,
            tenant in 0_i32..,
            mark in proptest::option::of(any::<[u8; MARK_OCTETS]>()),
        ) {
            let message = MessageId::from_i64(message).unwrap();
            let recipient = mark.map(RecipientMark);
            let returned = Returned { message, delivery: message.delivery(ordinal), tenant: TenantId(tenant), recipient };
            let paths = paths(&['z']);
            prop_assert_eq!(paths.judge(&paths.sign(returned).unwrap(), message.made_at()), Claim::Genuine(returned));
        }

        #[test]
        fn whatever_is_said_is_judged(text in "bounces\\+[a-z2-7@.]{0,60}") {
            prop_assert!(!matches!(paths(&['z']).judge_text(&text, NOW), Claim::Genuine(_)));
        }
    }
}

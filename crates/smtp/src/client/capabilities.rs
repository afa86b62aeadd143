//! What the remote offered in its answer to EHLO (RFC 5321 §4.1.1.1). Not responsible for using any of it.

use mailtier_types::SaslMechanism;

use super::origin::OriginAttributes;

const _: () = assert!(SaslMechanism::ALL.len() <= 8, "a bit for each mechanism");

/// What a remote takes at the most (RFC 9422); absent where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// MAILMAX: transactions over one connection.
    pub transactions: Option<u32>,
    /// RCPTMAX: recipients of one transaction.
    pub recipients: Option<u32>,
    /// RCPTDOMAINMAX: domains of the recipients of one transaction.
    pub recipient_domains: Option<u32>,
}

impl Limits {
    /// RFC 9422 §3: names with values; what is not known, or no limit, is ignored.
    fn add<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            let Some(value) = value.parse().ok().filter(|value| *value > 0) else { continue };
            if is("MAILMAX") {
                self.transactions = Some(value);
            } else if is("RCPTMAX") {
                self.recipients = Some(value);
            } else if is("RCPTDOMAINMAX") {
                self.recipient_domains = Some(value);
            }
        }
    }
}

/// The extensions a client session knows how to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The remote answered EHLO; false after HELO.
    pub extended: bool,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_codes: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// CHUNKING (RFC 3030 §2).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030 §3).
    pub binary: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// DELIVERBY (RFC 2852).
    pub deliver_by: bool,
    /// MT-PRIORITY (RFC 6710).
    pub priority: bool,
    /// AUTH (RFC 4954): a bit for each of [`SaslMechanism::ALL`].
    logins: u8,
    /// LIMITS (RFC 9422).
    pub limits: Limits,
    /// XFORWARD (Postfix's XFORWARD_README): what the remote wants to know of where mail came from.
    pub(super) origin: OriginAttributes,
    /// SIZE (RFC 1870): offered, and with which limit in octets. A limit of 0 means none.
    pub size: Option<Option<u64>>,
}

impl Capabilities {
    /// From the text of a positive reply to EHLO, one line per keyword after the first.
    pub(super) fn parse(text: &str) -> Self {
        let mut offered = Self { extended: true, ..Self::default() };
        for line in text.split('\n').skip(1) {
            offered.add(line);
        }
        offered
    }

    /// Whether logins with this mechanism are offered.
    #[must_use]
    pub fn offers_login(&self, mechanism: SaslMechanism) -> bool {
        self.logins & bit(mechanism) != 0
    }

    /// Whether any logins are offered that are known here.
    #[must_use]
    pub const fn offers_logins(&self) -> bool {
        self.logins != 0
    }

    /// One `ehlo-line`. What is not known is ignored, and keywords are case-insensitive (RFC 5321 §2.4, §4.1.1.1).
    fn add(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next().unwrap_or_default();
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        if is("PIPELINING") {
            self.pipelining = true;
        } else if is("8BITMIME") {
            self.eight_bit = true;
        } else if is("SMTPUTF8") {
            self.smtputf8 = true;
        } else if is("STARTTLS") {
            self.starttls = true;
        } else if is("ENHANCEDSTATUSCODES") {
            self.enhanced_codes = true;
        } else if is("DSN") {
            self.dsn = true;
        } else if is("CHUNKING") {
            self.chunking = true;
        } else if is("BINARYMIME") {
            self.binary = true;
        } else if is("REQUIRETLS") {
            self.require_tls = true;
        } else if is("DELIVERBY") {
            self.deliver_by = true;
        } else if is("MT-PRIORITY") {
            self.priority = true;
        } else if is("XFORWARD") {
            self.origin = OriginAttributes::parse(words);
        } else if is("LIMITS") {
            self.limits.add(words);
        } else if is("AUTH") {
            self.add_logins(words);
        } else if keyword.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("AUTH=")) {
            // As servers had it before RFC 2554, and some still do for the sake of their old clients.
            self.add_logins(keyword.get(5..).into_iter().chain(words));
        } else if is("SIZE") {
            // RFC 1870 §4: 0, or no number at all, means that there is no fixed limit.
            self.size = Some(words.next().and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0));
        }
    }

    fn add_logins<'a>(&mut self, mechanisms: impl Iterator<Item = &'a str>) {
        self.logins |= mechanisms.filter_map(|name| name.parse().ok()).fold(0, |bits, one| bits | bit(one));
    }
}

fn bit(mechanism: SaslMechanism) -> u8 {
    SaslMechanism::ALL.iter().position(|known| *known == mechanism).map_or(0, |place| 1 << place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_in_any_case_and_unknown_ones_between() {
        let offered = Capabilities::parse(
            "mx.example.org at your service\npipelining\nSize 1000\n8BITMIME\nXFOO bar\n\nStartTLS\nSMTPUTF8\nENHANCEDSTATUSCODES",
        );
        assert_eq!(
            offered,
            Capabilities {
                extended: true,
                pipelining: true,
                eight_bit: true,
                smtputf8: true,
                starttls: true,
                enhanced_codes: true,
                size: Some(Some(1000)),
                ..Capabilities::default()
            }
        );
    }

    #[test]
    fn the_first_line_is_a_greeting_even_when_it_looks_like_a_keyword() {
        assert_eq!(Capabilities::parse("PIPELINING"), Capabilities { extended: true, ..Capabilities::default() });
    }

    #[test]
    fn logins_in_both_ways_of_writing() {
        use SaslMechanism::{Login, Plain, ScramSha256, ScramSha256Plus};
        for (line, expected) in [
            ("AUTH PLAIN login", &[Plain, Login][..]),
            ("auth=PLAIN LOGIN", &[Plain, Login]),
            ("AUTH SCRAM-SHA-256 CRAM-MD5 X", &[ScramSha256]),
            ("AUTH", &[]),
            ("AUTH=", &[]),
            ("AUTHX PLAIN", &[]),
        ] {
            let offered = Capabilities::parse(&format!("x\n{line}"));
            for mechanism in [ScramSha256Plus, ScramSha256, Plain, Login] {
                assert_eq!(offered.offers_login(mechanism), expected.contains(&mechanism), "{line}: {mechanism}");
            }
            assert_eq!(offered.offers_logins(), !expected.is_empty(), "{line}");
        }
    }

    #[test]
    fn limits_and_what_is_none() {
        let limits = |line: &str| {
            let limits = Capabilities::parse(&format!("x\n{line}")).limits;
            (limits.transactions, limits.recipients, limits.recipient_domains)
        };
        assert_eq!(limits("LIMITS MAILMAX=10 rcptmax=100 RCPTDOMAINMAX=1"), (Some(10), Some(100), Some(1)));
        for none in ["LIMITS", "LIMITS MAILMAX=0 RCPTMAX=x RCPTMAX FOO=1", "LIMIT MAILMAX=10", "LIMITS RCPTMAX=-1"] {
            assert_eq!(limits(none), (None, None, None), "{none}");
        }
    }

    #[test]
    fn sizes_that_are_no_limit() {
        for (line, size) in [
            ("SIZE", Some(None)),
            ("SIZE 0", Some(None)),
            ("SIZE lots", Some(None)),
            ("SIZE 99999999999999999999999", Some(None)),
            ("SIZE 52428800", Some(Some(52_428_800))),
            ("SIZES 1", None),
        ] {
            assert_eq!(Capabilities::parse(&format!("x\n{line}")).size, size, "{line}");
        }
    }
}

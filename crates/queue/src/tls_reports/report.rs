//! A report and the message that carries it, from what was counted. Pure but for the signature.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use mailtier_api::submit::Submission;
use mailtier_mailauth::SignError;
use mailtier_message::tls_report::{TlsReport, TlsReportMail, report_mail};
use mailtier_store::{ClaimedTlsReport, NewMessage};
use mailtier_types::{
    BodyEncoding, Day, Envelope, Mailbox, MessageId, Notify, Options, PolicyCounts, RecipientRequest, ReversePath,
    TenantId, Timestamp,
};

use super::Reporting;
use crate::accept::{Lifetimes, new_message};
use crate::conductor::Committed;

/// After the end of a day, for what workers have counted in its last minute.
const SETTLING: Duration = Duration::from_secs(600);
/// Reports of all domains are spread over this time (RFC 8460 §4.1).
const SPREAD: Duration = Duration::from_secs(4 * 3600);
/// For so long a report is tried to be sent (RFC 8460 §5.6).
pub(super) const TRIED_FOR: Duration = Duration::from_secs(24 * 3600);

/// When the report of a day and a domain is due: every replica comes to the same.
pub(super) fn due_at(day: Day, domain: &str) -> Timestamp {
    let hash = digest(&SHA256, format!("{day} {domain}").as_bytes());
    let number = hash.as_ref().iter().take(8).fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
    let spread = SPREAD.saturating_sub(SETTLING).as_secs();
    day.ends_at().after(SETTLING).after(Duration::from_secs(number % spread))
}

/// Whom a `mailto:` URI means (RFC 6068): the first address, without what is to be written to it.
pub(super) fn mailto(uri: &str) -> Option<Mailbox> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("mailto") {
        return None;
    }
    let address = rest.split(['?', ',']).next()?;
    Mailbox::parse(&percent_decoded(address)?).ok()
}

/// RFC 3986 §2.1.
fn percent_decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    octets.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        octets.push(u8::from_str_radix(code, 16).ok()?);
        octets.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(octets).ok()
}

impl Reporting {
    /// The report of a day.
    pub(super) fn report(&self, claimed: &ClaimedTlsReport, counted: Vec<PolicyCounts>) -> TlsReport {
        let ClaimedTlsReport { day, domain, .. } = claimed;
        TlsReport {
            organization: self.settings.organization.clone(),
            contact: self.settings.contact.clone(),
            id: format!("{day}.{domain}@{}", self.settings.sender.domain_str()),
            begins_at: day.begins_at(),
            ends_at: Timestamp::from_secs(day.ends_at().as_secs() - 1),
            policies: counted.into_iter().map(|counts| (domain.clone(), counts)).collect(),
        }
    }

    /// The message that takes a report to one place, and what is scheduled once it is committed. Nobody is to be told what
    /// became of it, and it goes whatever is wrong with TLS (RFC 8460 §5.3).
    ///
    /// # Errors
    /// It cannot be signed.
    pub(super) fn mail(
        &self,
        report: &TlsReport,
        (domain, packed): (&str, &[u8]),
        to: &Mailbox,
        (message, now): (MessageId, Timestamp),
    ) -> Result<(NewMessage, Vec<Committed>), SignError> {
        let from = &self.settings.sender;
        let content = report_mail(TlsReportMail { report, domain, packed, from, to, message, now });
        let mut signed = self.signer.field(&content)?.into_bytes();
        signed.extend_from_slice(&content);
        let never = Some(Notify { success: false, failure: false, delay: false });
        let options = Options {
            tls_optional: true,
            requests: vec![RecipientRequest { recipient: to.clone(), notify: never, original: None }],
            received_at: now,
            protocol: "local".to_owned(),
            header_message_id: format!("<{message}@{}>", from.domain_str()),
            size_bytes: signed.len() as u64,
            encoding: BodyEncoding::Identity,
            ..Options::default()
        };
        let envelope = Envelope {
            sender: ReversePath::Mailbox(from.clone()),
            recipients: vec![to.clone()],
            tenant: TenantId(0),
            priority: 0,
            options,
        };
        let body = signed.into();
        let submission =
            Submission { id: message, resubmission: false, envelope, body, parts: 0, screened: false, report: false };
        Ok(new_message(submission, Lifetimes { ordinary: TRIED_FOR, notification: TRIED_FOR }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_spread_over_four_hours_and_never_due_before_all_is_counted() {
        let day: Day = "2026-11-25".parse().unwrap();
        let dues: Vec<_> = (0..1_000)
            .map(|number| due_at(day, &format!("d{number}.example")).since(day.ends_at()).as_secs())
            .collect();
        assert!(dues.iter().all(|due| (SETTLING.as_secs()..SPREAD.as_secs()).contains(due)), "{dues:?}");
        for quarter in 0..4 {
            let of_quarter = dues.iter().filter(|due| **due / 3_600 == quarter).count();
            assert!((150..350).contains(&of_quarter), "{quarter}: {of_quarter}");
        }
        assert_eq!(due_at(day, "d.example"), due_at(day, "d.example"));
        assert_ne!(due_at(day, "d.example"), due_at("2026-11-26".parse().unwrap(), "d.example"));
    }

    #[test]
    fn addresses_are_taken_out_of_uris() {
        for (uri, address) in [
            ("mailto:r@d.example", Some("r@d.example")),
            ("MAILTO:r%2Bx@d.example?subject=x", Some("r+x@d.example")),
            ("mailto:a@d.example,b@d.example", Some("a@d.example")),
            ("mailto:r@d.example%0d%0aBcc:x", None),
            ("mailto:%zz@d.example", None),
            ("mailto:", None),
            ("https://d.example/r", None),
        ] {
            assert_eq!(mailto(uri).as_ref().map(Mailbox::as_str), address, "{uri}");
        }
    }
}

//! Suppression lists: who is put on one by rule, which tenants have any, and what operators change. Not responsible for the
//! lists themselves, which are the database's, nor for what becomes of mail to those on them.
//!
//! A bounce class puts a recipient on a list only where it says that the recipient is not there. Blocks, policies and spam
//! filters speak of the sender or of a message: whoever took them for the recipient's would stop writing to people who want
//! the mail.

mod listed;
mod manage;

use std::time::Duration;

use mailtier_api::suppressions::listed as listed_address;
use mailtier_config::{Config, ConfigError, SuppressionConfig, SuppressionMode};
use mailtier_store::{NewSuppression, SuppressionSource};
use mailtier_types::{BounceClass, Mailbox, MessageId, TenantId, Timestamp};

pub(crate) use listed::{ListKeeper, Listed};
pub(crate) use manage::Lists;

/// Who is said to have put somebody on a list by rule.
const OURSELVES: &str = mailtier_api::tokens::OURSELVES;
/// What is kept of a reason, in octets.
const MAX_REASON_OCTETS: usize = 500;

/// What puts a recipient on a list.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    config: SuppressionConfig,
    classes: Vec<BounceClass>,
}

impl Rules {
    /// # Errors
    /// A class is none that may.
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self { config: config.suppression.clone(), classes: config.suppression.classes()? })
    }

    /// Whether any tenant has a list.
    pub(crate) fn are_used(&self) -> bool {
        self.config.is_used()
    }

    /// What follows for a recipient whose mail failed for such a reason.
    pub(crate) fn of_failure(
        &self,
        tenant: TenantId,
        class: BounceClass,
        recipient: &Mailbox,
        (source, reason): (SuppressionSource, String),
        message: MessageId,
        now: Timestamp,
    ) -> Option<NewSuppression> {
        let lasting = Some(self.config.bounces_for).filter(|_| self.classes.contains(&class))?;
        self.suppression(tenant, recipient, (source, format!("{class}: {reason}")), message, Some(lasting), now)
    }

    /// What follows for a recipient who complains.
    pub(crate) fn of_complaint(
        &self,
        tenant: TenantId,
        recipient: &Mailbox,
        reason: &str,
        message: MessageId,
        now: Timestamp,
    ) -> Option<NewSuppression> {
        let why = (SuppressionSource::Complaint, reason.to_owned());
        let lasting = self.config.complaints_for;
        self.config.complaints.then(|| self.suppression(tenant, recipient, why, message, lasting, now)).flatten()
    }

    fn suppression(
        &self,
        tenant: TenantId,
        recipient: &Mailbox,
        (source, mut reason): (SuppressionSource, String),
        message: MessageId,
        lasting: Option<Duration>,
        now: Timestamp,
    ) -> Option<NewSuppression> {
        if self.config.mode_of(tenant) == SuppressionMode::Off {
            return None;
        }
        reason.truncate(reason.floor_char_boundary(MAX_REASON_OCTETS));
        // A stranger's words: what is no text to the database would keep the failure from being settled.
        let reason = reason.replace(char::is_control, " ");
        Some(NewSuppression {
            tenant,
            address: listed_address(recipient),
            source,
            reason,
            message: Some(message),
            created_by: OURSELVES.to_owned(),
            created_at: now,
            expires_at: lasting.map(|lasting| now.after(lasting)),
        })
    }
}

#[cfg(test)]
mod tests {
    use mailtier_config::SuppressionTenantConfig;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn rules(change: impl FnOnce(&mut SuppressionConfig)) -> Rules {
        let mut config = Config::default();
        config.suppression.mode = SuppressionMode::Reject;
        change(&mut config.suppression);
        Rules::new(&config).unwrap()
    }

    fn failed(rules: &Rules, tenant: i32, class: BounceClass) -> Option<NewSuppression> {
        let (recipient, message) = (Mailbox::parse("User@B.example").unwrap(), MessageId::from_i64(9).unwrap());
        let why = (SuppressionSource::Failure, "550 5.1.1 gone".to_owned());
        rules.of_failure(TenantId(tenant), class, &recipient, why, message, NOW)
    }

    #[test]
    fn only_what_says_that_a_recipient_is_not_there_counts() {
        let rules = rules(|_| {});
        let counting: Vec<&str> = BounceClass::ALL
            .iter()
            .filter(|class| failed(&rules, 0, **class).is_some())
            .map(|class| class.name())
            .collect();
        assert_eq!(counting, ["invalid_mailbox", "inactive_mailbox"]);
        let found = failed(&rules, 0, BounceClass::InvalidMailbox).unwrap();
        assert_eq!(found.address, "user@b.example");
        assert_eq!(found.reason, "invalid_mailbox: 550 5.1.1 gone");
        assert_eq!(found.expires_at, Some(NOW.after(Duration::from_secs(30 * 86_400))));
    }

    #[test]
    fn whatever_a_host_said_can_be_stored() {
        let (recipient, message) = (Mailbox::parse("user@b.example").unwrap(), MessageId::from_i64(9).unwrap());
        let said = format!("no\0such\nuser {}", "ü".repeat(500));
        let why = (SuppressionSource::Failure, said);
        let class = BounceClass::InvalidMailbox;
        let found = rules(|_| {}).of_failure(TenantId(0), class, &recipient, why, message, NOW).unwrap();
        assert!(found.reason.starts_with("invalid_mailbox: no such user ü") && found.reason.len() <= MAX_REASON_OCTETS);
    }

    #[test]
    fn a_tenant_without_a_list_has_nobody_on_it() {
        let tenant = |id, mode| SuppressionTenantConfig { id, mode };
        let rules = rules(|config| {
            config.mode = SuppressionMode::Off;
            config.tenants = vec![tenant(7, SuppressionMode::Fail), tenant(8, SuppressionMode::Off)];
        });
        let listed = |tenant| failed(&rules, tenant, BounceClass::InvalidMailbox).is_some();
        assert!(listed(7) && !listed(8) && !listed(0) && rules.are_used());
        assert!(!Rules::default().are_used());
    }

    #[test]
    fn complaints_count_until_somebody_takes_them_back() {
        let (recipient, message) = (Mailbox::parse("user@b.example").unwrap(), MessageId::from_i64(9).unwrap());
        let of = |rules: &Rules| rules.of_complaint(TenantId(0), &recipient, "abuse", message, NOW);
        assert_eq!(of(&rules(|_| {})).unwrap().expires_at, None);
        let day = Duration::from_secs(86_400);
        assert_eq!(of(&rules(|config| config.complaints_for = Some(day))).unwrap().expires_at, Some(NOW.after(day)));
        assert_eq!(of(&rules(|config| config.complaints = false)), None);
    }
}

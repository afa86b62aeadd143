//! The sections about what comes back: signed return paths, reports, suppression lists. Both mailtier-inbound and
//! mailtier-queue read them, and must read the same. Not responsible for reading them.

use std::path::PathBuf;
use std::time::Duration;

use mailtier_types::{BounceClass, Domain, Mailbox, TenantId};

use crate::bounds::{DAY, SECOND, YEAR, duration, line, twice};
use crate::check_listeners::tenant_number;
use crate::keys::quote;
use crate::load::secret;
use crate::section::section;
use crate::words::{expected, words};
use crate::{Config, ConfigError, Secret};

/// Everyone who has logged in.
const EVERY_USER: &str = "*";

words! {
    /// What becomes of mail to recipients on a tenant's suppression list.
    #[derive(Default)]
    SuppressionMode {
        /// There is no list: nobody is put on it, and it is not looked at.
        #[default]
        Off = "off",
        /// Such a recipient is refused at RCPT.
        Reject = "reject",
        /// It is taken and fails at once, so that the sender is told by a notification and the history has it.
        Fail = "fail",
    }
}

section! {
    /// What comes back about mail that was delivered: bounces to signed return paths, and complaints. mailtier-inbound and
    /// mailtier-queue both read this; give both the same. docs/feedback.md shows how.
    FeedbackConfig {
        /// The domain of signed return paths, whose MX is this system: `bounces+<token>@<domain>`. Without it there are none.
        return_path_domain: Option<String> = None, "domain";
        /// Keys for them, one a line, each at least 32 characters: the first signs, all are known.
        return_path_keys: Option<Secret> = None, "text";
        /// The file with those keys. Read again when it changes.
        return_path_keys_file: Option<PathBuf> = None, "path";
        /// Tenants whose mail leaves with a signed return path.
        return_path_tenants: Vec<i32> = Vec::new(), "list of numbers";
        /// Users whose mail does, by the names they log in with; `*`: all who log in.
        return_path_users: Vec<String> = Vec::new(), "list of texts";
        /// How long after a message was accepted its return path takes bounces, 1d to 1y.
        #[serde(with = "humantime_serde")]
        return_path_lifetime: Duration = Duration::from_secs(30 * 86_400), "duration";
        /// Each recipient has a return path of its own, and so a transaction of its own: what comes back is about that
        /// recipient, whatever it says. Else the recipients of one domain share one, and the transaction.
        return_path_per_recipient: bool = true, "boolean";
        /// What comes back there is passed on to whoever sent the message too, as it would have come to him without a signed
        /// return path.
        return_path_forwards: bool = true, "boolean";
        /// Where providers send complaints (RFC 5965), such as `fbl@example.com`. Mail to these addresses is taken from
        /// anyone and read, not delivered.
        report_addresses: Vec<String> = Vec::new(), "list of mail addresses";
    }
}

section! {
    /// Recipients that a tenant's mail is not sent to any more. mailtier-inbound and mailtier-queue both read this; give both
    /// the same. docs/feedback.md shows how.
    SuppressionConfig {
        /// `off`, `reject` or `fail`, for tenants that have no word of their own.
        mode: SuppressionMode = SuppressionMode::Off, "word";
        /// Tenants with a word of their own, see below.
        tenants: Vec<SuppressionTenantConfig> = Vec::new(), "list of tables";
        /// Bounce classes that put a recipient on the list, among `invalid_mailbox`, `invalid_domain` and
        /// `inactive_mailbox`: others say nothing against a recipient.
        bounce_classes: Vec<String> = ["invalid_mailbox", "inactive_mailbox"].map(str::to_owned).to_vec(), "list of words";
        /// How long such a recipient stays there, 1s to 1y.
        #[serde(with = "humantime_serde")]
        bounces_for: Duration = Duration::from_secs(30 * 86_400), "duration";
        /// Complaints put a recipient on the list.
        complaints: bool = true, "boolean";
        /// How long it stays there for that; until an operator takes it off when not set.
        #[serde(with = "humantime_serde")]
        complaints_for: Option<Duration> = None, "duration";
    }
}

section! {
    /// What becomes of mail to recipients on one tenant's suppression list.
    SuppressionTenantConfig {
        /// Its number. Required.
        id: i32 = 0, "number";
        /// `off`, `reject` or `fail`. Required.
        mode: SuppressionMode = SuppressionMode::Off, "word";
    }
}

/// What signed return paths are made of.
#[derive(Debug, Clone)]
pub struct ReturnPathSettings {
    /// Where they are.
    pub domain: Domain,
    /// One key a line.
    pub keys: Secret,
    /// How long they are known.
    pub lifetime: Duration,
}

impl FeedbackConfig {
    /// What signed return paths are made of, where there are any.
    ///
    /// # Errors
    /// The domain is none, or there are no keys.
    pub fn return_paths(&self) -> Result<Option<ReturnPathSettings>, ConfigError> {
        let (key, file_key) = ("feedback.return_path_keys", Self::KEYS_FILE);
        let keys = secret(key, self.return_path_keys.as_ref(), file_key, self.return_path_keys_file.as_ref())?;
        let key = "feedback.return_path_domain";
        match (&self.return_path_domain, keys) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(ConfigError::bad(key, "is not set, and there are keys; give it, or take them out")),
            (Some(_), None) => {
                let problem = "is set, and there are no keys; name their file in `feedback.return_path_keys_file`";
                Err(ConfigError::bad(key, problem))
            }
            (Some(domain), Some(keys)) => {
                let domain = Domain::parse(domain)
                    .map_err(|error| ConfigError::bad(key, format!("is {}: {error}", quote(domain))))?;
                Ok(Some(ReturnPathSettings { domain, keys, lifetime: self.return_path_lifetime }))
            }
        }
    }

    /// The key that most name their keys by, for what is wrong with these.
    pub const KEYS_FILE: &'static str = "feedback.return_path_keys_file";

    /// Whether mail of this tenant and this user, who is empty where nobody has logged in, leaves with a signed return path.
    #[must_use]
    pub fn signs(&self, tenant: TenantId, user: &str) -> bool {
        self.return_path_tenants.contains(&tenant.0)
            || (!user.is_empty() && self.return_path_users.iter().any(|one| one == EVERY_USER || one == user))
    }

    /// Whether that depends on the user.
    #[must_use]
    pub fn asks_for_users(&self) -> bool {
        !self.return_path_users.is_empty()
    }

    /// Where complaints are sent to.
    ///
    /// # Errors
    /// One is no address.
    pub fn report_mailboxes(&self) -> Result<Vec<Mailbox>, ConfigError> {
        let parse = |text: &String| {
            let bad = |error| ConfigError::bad("feedback.report_addresses", format!("holds {}: {error}", quote(text)));
            Mailbox::parse(text).map_err(bad)
        };
        self.report_addresses.iter().map(parse).collect()
    }
}

impl SuppressionConfig {
    /// Classes that say something against a recipient, and not against us or a message.
    const CLASSES: [BounceClass; 3] =
        [BounceClass::InvalidMailbox, BounceClass::InvalidDomain, BounceClass::InactiveMailbox];

    /// What becomes of mail of this tenant to recipients on its list.
    #[must_use]
    pub fn mode_of(&self, tenant: TenantId) -> SuppressionMode {
        self.tenants.iter().find(|one| one.id == tenant.0).map_or(self.mode, |one| one.mode)
    }

    /// Whether any tenant has a list.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.mode != SuppressionMode::Off || self.tenants.iter().any(|one| one.mode != SuppressionMode::Off)
    }

    /// The classes that put a recipient on the list.
    ///
    /// # Errors
    /// One is none of those that may.
    pub fn classes(&self) -> Result<Vec<BounceClass>, ConfigError> {
        let key = "suppression.bounce_classes";
        let find = |word: &String| {
            let words = Self::CLASSES.map(BounceClass::name);
            let found = Self::CLASSES.into_iter().find(|class| class.name() == word);
            found.ok_or_else(|| ConfigError::bad(key, format!("holds {}; {}", quote(word), expected(word, &words))))
        };
        self.bounce_classes.iter().map(find).collect()
    }
}

impl Config {
    pub(crate) fn check_feedback(&self) -> Result<(), ConfigError> {
        let feedback = &self.feedback;
        feedback.return_paths()?;
        feedback.report_mailboxes()?;
        duration("feedback.return_path_lifetime", feedback.return_path_lifetime, DAY..=YEAR)?;
        let key = "feedback.return_path_tenants";
        feedback.return_path_tenants.iter().try_for_each(|id| tenant_number(key.to_owned(), *id))?;
        if feedback.return_path_tenants.contains(&0) {
            let problem = "holds 0, to whom belongs what strangers send: their bounces would never reach them; name users \
                           in `feedback.return_path_users` (`*` for all who log in), or give your networks a tenant";
            return Err(ConfigError::bad(key, problem));
        }
        twice(key, &feedback.return_path_tenants)?;
        feedback.return_path_users.iter().try_for_each(|name| line("feedback.return_path_users", name))?;
        let signs = !feedback.return_path_tenants.is_empty() || feedback.asks_for_users();
        if signs && feedback.return_path_domain.is_none() {
            let problem = "is not set, and tenants or users are to have signed return paths; give it";
            return Err(ConfigError::bad("feedback.return_path_domain", problem));
        }
        self.check_suppression()
    }

    fn check_suppression(&self) -> Result<(), ConfigError> {
        let suppression = &self.suppression;
        suppression.classes()?;
        twice("suppression.bounce_classes", &suppression.bounce_classes)?;
        duration("suppression.bounces_for", suppression.bounces_for, SECOND..=YEAR)?;
        let complaints_for = suppression.complaints_for;
        complaints_for.map_or(Ok(()), |lasting| duration("suppression.complaints_for", lasting, SECOND..=YEAR))?;
        for (index, one) in suppression.tenants.iter().enumerate() {
            let key = format!("suppression.tenants[{index}].id");
            tenant_number(key.clone(), one.id)?;
            if suppression.tenants.iter().take(index).any(|earlier| earlier.id == one.id) {
                return Err(ConfigError::bad(key, format!("is {} again; keep one", one.id)));
            }
        }
        Ok(())
    }
}

//! What comes back: signed return paths given to deliveries as they go out, and what is sent to them, or to the addresses
//! for complaints, taken for what it tells. Not responsible for reading reports (`message::feedback`), nor for writing what
//! follows (`accept`).
//!
//! Whose mail has a signed return path is decided here and nowhere else, when a delivery is handed out. What is stored stays
//! as it was accepted: so a notification of ours goes to whoever really sent the message, and keys and settings can change
//! under mail that is queued.

mod plan;
mod tls_report;

use std::sync::Arc;

use arc_swap::ArcSwap;
use mailtier_config::{Config, ConfigError, FeedbackConfig};
use mailtier_message::feedback::addresses_at;
use mailtier_message::{Claim, RecipientMark, ReturnPaths, Returned};
use mailtier_types::{DeliveryId, Envelope, Mailbox, ReversePath, TenantId, Timestamp};

pub(crate) use plan::{Context, Report, plan};

use crate::clock;
use crate::conductor::Content;

/// The most addresses at the domain of return paths that are judged in one complaint.
const MOST_JUDGED: usize = 64;

/// See the module. It may be set to something else while the queue runs.
#[derive(Debug, Default)]
pub(crate) struct Feedback(ArcSwap<Ways>);

/// What it is set to.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    paths: Option<ReturnPaths>,
    config: FeedbackConfig,
    report_addresses: Vec<Mailbox>,
}

/// The signed reverse-paths of a delivery.
#[derive(Debug, Default)]
pub(crate) struct Signed {
    /// For all recipients together: for the only one its own, and for workers that have not heard of several.
    pub(crate) shared: Option<ReversePath>,
    /// For each recipient, in their order; empty where they share one.
    pub(crate) own: Vec<ReversePath>,
}

/// Which message a report is about, as far as that is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// This one.
    Delivery(Returned),
    /// None that can be named, and why.
    Nothing(&'static str),
}

impl Feedback {
    /// # Errors
    /// The keys cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        Ways::new(config).map(|ways| Self(ArcSwap::from_pointee(ways)))
    }

    /// From now on.
    pub(crate) fn set(&self, ways: Ways) {
        self.0.store(Arc::new(ways));
    }

    /// The reverse-paths that a delivery goes out with, where those are others than its message's.
    pub(crate) fn return_paths(&self, tenant: TenantId, delivery: DeliveryId, content: &Content) -> Signed {
        self.0.load().return_paths(tenant, delivery, content)
    }

    /// Whether a message is not to be delivered but read. Where nothing can come back that costs nothing.
    pub(crate) fn takes(&self, envelope: &Envelope) -> bool {
        let ways = self.0.load();
        ways.is_used() && ways.takes(envelope, clock::now())
    }

    /// Which message a report that was sent to this address is about, and whether it is passed on to the sender of that.
    pub(crate) fn about(&self, recipient: &Mailbox, content: &[u8], now: Timestamp) -> (About, bool) {
        let ways = self.0.load();
        (ways.about(recipient, content, now), ways.forwards(recipient, now))
    }
}

impl Ways {
    /// # Errors
    /// The keys cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let config = &config.feedback;
        let paths = config.return_paths()?.map(|settings| {
            let paths = ReturnPaths::new(settings.domain, settings.keys.expose(), settings.lifetime);
            paths.map_err(|error| ConfigError::bad(FeedbackConfig::KEYS_FILE, error.to_string()))
        });
        let report_addresses = config.report_mailboxes()?;
        Ok(Self { paths: paths.transpose()?, config: config.clone(), report_addresses })
    }

    /// The reverse-paths that a delivery goes out with, where those are others than its message's.
    fn return_paths(&self, tenant: TenantId, delivery: DeliveryId, content: &Content) -> Signed {
        let Some(paths) = &self.paths else { return Signed::default() };
        // A notification has none (RFC 5321 §4.5.5), and nobody wants to hear of it.
        if content.sender.is_null() || !self.signs(tenant, content) {
            return Signed::default();
        }
        let message = content.message;
        let sign = |recipient: Option<&Mailbox>| {
            let recipient = recipient.map(|recipient| RecipientMark::of(message, recipient));
            paths.sign(Returned { message, delivery, tenant, recipient }).map(ReversePath::Mailbox)
        };
        match content.recipients.as_slice() {
            [only] if self.config.return_path_per_recipient => Signed { shared: sign(Some(only)), own: Vec::new() },
            all if self.config.return_path_per_recipient => {
                Signed { shared: sign(None), own: all.iter().filter_map(|one| sign(Some(one))).collect() }
            }
            _ => Signed { shared: sign(None), own: Vec::new() },
        }
    }

    /// Who was logged in stands in the options alone, which are read only where that matters.
    fn signs(&self, tenant: TenantId, content: &Content) -> bool {
        if self.config.signs(tenant, "") || !self.config.asks_for_users() {
            return self.config.signs(tenant, "");
        }
        mailtier_api::decode_options(&content.options).is_ok_and(|options| self.config.signs(tenant, &options.user))
    }

    /// Whether anything can come back.
    const fn is_used(&self) -> bool {
        self.paths.is_some() || !self.report_addresses.is_empty()
    }

    /// Whether a message is not to be delivered but read.
    fn takes(&self, envelope: &Envelope, now: Timestamp) -> bool {
        let [recipient] = envelope.recipients.as_slice() else { return false };
        // Forged ones are refused at the door; one that is not known here, for want of a key, is read all the same: delivered,
        // it would come to that door again.
        self.judge(recipient, now) != Claim::None || self.is_report_address(recipient)
    }

    /// Whether what came to this address is passed on to the sender of the message that it is about.
    fn forwards(&self, recipient: &Mailbox, now: Timestamp) -> bool {
        self.config.return_path_forwards && matches!(self.judge(recipient, now), Claim::Genuine(_))
    }

    fn judge(&self, recipient: &Mailbox, now: Timestamp) -> Claim {
        self.paths.as_ref().map_or(Claim::None, |paths| paths.judge(recipient, now))
    }

    fn is_report_address(&self, recipient: &Mailbox) -> bool {
        self.report_addresses.iter().any(|known| same(known, recipient))
    }

    /// Which message a report is about: by the address it was sent to, else by a return path that stands in it. Nothing else
    /// is believed, for anyone can write anything.
    fn about(&self, recipient: &Mailbox, content: &[u8], now: Timestamp) -> About {
        match self.judge(recipient, now) {
            Claim::Genuine(returned) => return About::Delivery(returned),
            Claim::Forged => return About::Nothing("its return path was not signed with a key that is known here"),
            Claim::Expired => return About::Nothing("the time of its return path is over"),
            Claim::None => {}
        }
        let Some(paths) = &self.paths else { return About::Nothing("there are no signed return paths") };
        let claims = addresses_at(content, paths.domain().as_str(), MOST_JUDGED);
        let genuine = claims.map(|address| paths.judge_text(address, now)).find_map(|claim| match claim {
            Claim::Genuine(returned) => Some(returned),
            Claim::None | Claim::Forged | Claim::Expired => None,
        });
        genuine.map_or(About::Nothing("no signed return path stands in it"), About::Delivery)
    }
}

/// Whether two addresses are one to whoever writes them: local parts of our own have no case.
fn same(one: &Mailbox, other: &Mailbox) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mailtier_types::{IdSource, MessageId, NodeNumber, Options};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn feedback(change: impl FnOnce(&mut FeedbackConfig)) -> Ways {
        let mut config = Config::default();
        config.feedback.return_path_domain = Some("bounces.example.com".into());
        config.feedback.return_path_keys = Some(mailtier_config::Secret::new("k".repeat(32)));
        change(&mut config.feedback);
        Ways::new(&config).unwrap()
    }

    fn message() -> MessageId {
        IdSource::new(NodeNumber::new(3).unwrap()).take(9, NOW)
    }

    fn content(sender: &str, user: &str) -> Content {
        let options = Options { user: user.to_owned(), ..Options::default() };
        Content {
            message: message(),
            fanout: 1,
            sender: ReversePath::parse(sender).unwrap(),
            recipients: vec![Mailbox::parse("x@b.example").unwrap()],
            options: mailtier_api::encode_options(options),
            traceparent: None,
            received_at: NOW,
            reports_success: false,
            body: None,
            hosts: Vec::new(),
            was_held: false,
            last: None,
        }
    }

    #[test]
    fn mail_of_the_tenants_and_users_that_are_named_has_a_return_path_of_its_own() {
        let of = |feedback: &Ways, tenant: i32, sender: &str, user: &str| {
            let content = content(sender, user);
            feedback.return_paths(TenantId(tenant), content.message.delivery(1), &content).shared.is_some()
        };
        let tenants = feedback(|config| config.return_path_tenants = vec![7]);
        assert!(of(&tenants, 7, "s@x.example", "") && !of(&tenants, 8, "s@x.example", "alice"));
        assert!(!of(&tenants, 7, "", ""), "a notification stays one");
        let users = feedback(|config| config.return_path_users = vec!["alice".into()]);
        assert!(of(&users, 7, "s@x.example", "alice"));
        assert!(!of(&users, 7, "s@x.example", "bob") && !of(&users, 7, "s@x.example", ""));
        let everyone = feedback(|config| config.return_path_users = vec!["*".into()]);
        assert!(of(&everyone, 0, "s@x.example", "bob") && !of(&everyone, 0, "s@x.example", ""), "strangers have none");
        assert!(!of(&Ways::default(), 7, "s@x.example", "alice"));
    }

    #[test]
    fn each_recipient_has_its_own_unless_they_are_to_share_one() {
        let mut content = content("s@x.example", "");
        content.recipients.push(Mailbox::parse("y@b.example").unwrap());
        let delivery = content.message.delivery(1);
        let signed = |per_recipient: bool| {
            let feedback = feedback(|config| {
                config.return_path_tenants = vec![7];
                config.return_path_per_recipient = per_recipient;
            });
            let signed = feedback.return_paths(TenantId(7), delivery, &content);
            let judge = |path: &ReversePath| match feedback.judge(path.mailbox().unwrap(), NOW) {
                Claim::Genuine(returned) => returned.recipient,
                claim => panic!("{claim:?}"),
            };
            (signed.shared.as_ref().map(judge), signed.own.iter().map(judge).collect::<Vec<_>>())
        };
        let own = content.recipients.iter().map(|one| Some(RecipientMark::of(content.message, one)));
        assert_eq!(signed(true), (Some(None), own.collect()));
        assert_eq!(signed(false), (Some(None), Vec::new()));
    }

    #[test]
    fn what_is_sent_to_a_return_path_is_read_and_believed_by_its_signature_alone() {
        let feedback = feedback(|config| {
            config.return_path_tenants = vec![7];
            config.report_addresses = vec!["FBL@example.com".into()];
        });
        let content = content("s@x.example", "");
        let delivery = content.message.delivery(1);
        let Some(ReversePath::Mailbox(path)) = feedback.return_paths(TenantId(7), delivery, &content).shared else {
            panic!("it is signed")
        };
        let recipient = content.recipients.first().map(|one| RecipientMark::of(content.message, one));
        let returned = Returned { message: content.message, delivery, tenant: TenantId(7), recipient };
        let takes = |recipients: &[&Mailbox]| {
            let envelope = Envelope {
                sender: ReversePath::Null,
                recipients: recipients.iter().map(|one| (*one).clone()).collect(),
                tenant: TenantId(0),
                priority: 0,
                options: Options::default(),
            };
            feedback.takes(&envelope, NOW)
        };
        let (fbl, other) =
            (Mailbox::parse("fbl@example.com").unwrap(), Mailbox::parse("a@bounces.example.com").unwrap());
        let forged = Mailbox::parse("bounces+aaaa@bounces.example.com").unwrap();
        assert!(takes(&[&path]) && takes(&[&fbl]) && takes(&[&forged]));
        assert!(!takes(&[&other]) && !takes(&[&path, &other]));

        let about = |to: &Mailbox, content: String, now| feedback.about(to, content.as_bytes(), now);
        assert_eq!(about(&path, String::new(), NOW), About::Delivery(returned));
        assert_eq!(about(&fbl, format!("Original-Mail-From: <{path}>"), NOW), About::Delivery(returned));
        let forgery = format!("Original-Mail-From: <{forged}>, bounces.example.com, a@bounces.example.com");
        assert!(matches!(about(&fbl, forgery, NOW), About::Nothing(_)));
        assert!(matches!(about(&forged, format!("<{path}>"), NOW), About::Nothing(_)), "the address it came to counts");
        let late = NOW.after(Duration::from_secs(31 * 86_400));
        assert_eq!(about(&path, String::new(), late), About::Nothing("the time of its return path is over"));
    }
}

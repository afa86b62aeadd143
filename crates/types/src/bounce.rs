//! Bounce classes: why a recipient did not get a message, in words that stay. Operators, their dashboards and those who
//! read the API go by them, so a name is never given another meaning. Not responsible for telling which class an outcome
//! is of: that is `schedule::Classification`.

use std::fmt;
use std::str::FromStr;

use crate::class::Class;

macro_rules! bounce_classes {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $name:literal, $class:ident;)*) => {
        /// Why a recipient did not get a message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum BounceClass {
            $($(#[doc = $meaning])+ $variant,)*
        }

        impl BounceClass {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word for it in rules, logs, metrics and events.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, in a sentence or two.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($meaning),+),)* }
            }

            /// By which waits the next attempt comes.
            #[must_use]
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }
        }
    };
}

bounce_classes! {
    /// There is no such mailbox, or its name is none.
    InvalidMailbox = "invalid_mailbox", Other;
    /// There is no such domain, or it takes no mail.
    InvalidDomain = "invalid_domain", Other;
    /// The mailbox is there and takes nothing: disabled, closed or long unused.
    InactiveMailbox = "inactive_mailbox", Other;
    /// The mailbox is full.
    MailboxFull = "mailbox_full", MailboxFull;
    /// The message is larger than the host or the mailbox takes.
    MessageTooLarge = "message_too_large", Other;
    /// Something in the message is refused whoever sends it: a virus, an attachment, a link, a broken header field.
    Content = "content", Other;
    /// The message, or much of what we send, is taken for spam.
    Spam = "spam", Security;
    /// Our address or domain is on a block list, or blocked by the host itself.
    Blocklisted = "blocklisted", Security;
    /// We are not shown to be who we say: SPF, DKIM, DMARC, or the name of our address in DNS.
    Authentication = "authentication", Security;
    /// The host takes no mail for this domain from us.
    RelayingDenied = "relaying_denied", Security;
    /// A rule of the recipient's side that fits none of the others, such as who may write to whom.
    Policy = "policy", Security;
    /// The remote wants fewer messages in a time.
    RateLimited = "rate_limited", Throttled;
    /// The remote wants fewer connections at a time.
    TooManyConnections = "too_many_connections", Throttled;
    /// The remote does not know us yet and takes the same message a little later (RFC 6647).
    Greylisted = "greylisted", Greylisted;
    /// TLS failed, or is required and not to be had.
    Tls = "tls", Security;
    /// Name servers do not answer, or lead nowhere.
    Dns = "dns", Unreachable;
    /// Hosts cannot be reached, or break off.
    Network = "network", Unreachable;
    /// The remote was sent all of the message and did not say whether it has it.
    Unanswered = "unanswered", Other;
    /// The host is there and takes no mail from anyone now, or refuses before MAIL without saying why.
    Unavailable = "unavailable", Unreachable;
    /// The remote is in trouble of its own: its disk, its software, a loop.
    RemoteTrouble = "remote_trouble", Other;
    /// One side does not keep to the protocol, or lacks what the other asks for.
    Protocol = "protocol", Other;
    /// Trouble on our side.
    LocalTrouble = "local_trouble", Other;
    /// An operator gave it up.
    Administrative = "administrative", Other;
    /// Its time was up before anything was attempted.
    Expired = "expired", Other;
    /// Anything else, and replies that say too little.
    Other = "other", Other;
}

impl fmt::Display for BounceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no bounce class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBounceClass;

impl fmt::Display for NoBounceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no bounce class has this name")
    }
}

impl std::error::Error for NoBounceClass {}

impl FromStr for BounceClass {
    type Err = NoBounceClass;

    fn from_str(text: &str) -> Result<Self, NoBounceClass> {
        Self::ALL.iter().copied().find(|class| class.name() == text).ok_or(NoBounceClass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_a_word_of_its_own() {
        for class in BounceClass::ALL {
            assert_eq!(class.to_string().parse(), Ok(*class));
        }
        assert_eq!("nothing".parse::<BounceClass>(), Err(NoBounceClass));
    }

    /// They are part of the API, of stored events and of people's dashboards: more may come, none changes.
    #[test]
    fn the_words_stay() {
        let names: Vec<&str> = BounceClass::ALL.iter().map(|class| class.name()).collect();
        assert_eq!(
            names.join(" "),
            "invalid_mailbox invalid_domain inactive_mailbox mailbox_full message_too_large content spam blocklisted \
             authentication relaying_denied policy rate_limited too_many_connections greylisted tls dns network \
             unanswered unavailable remote_trouble protocol local_trouble administrative expired other"
        );
    }
}

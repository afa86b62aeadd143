//! Which deliveries a command is about: the options that all commands on the queue share. Not responsible for what the
//! command does with them.

use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::NonEmptyStringValueParser;
use mailtier_api::ApiError;
use mailtier_api::filter::{AddressPattern, DeliveryState, Filter, ReplyCode};
use mailtier_types::{Domain, MessageId, TenantId, Timestamp};

use crate::cli::duration;

/// What deliveries have in common that are meant: all that is said.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which deliveries")]
pub(crate) struct FilterOptions {
    /// Of this message; may be said several times
    #[arg(long = "message", value_name = "ID")]
    messages: Vec<MessageId>,
    /// Of this tenant
    #[arg(long, value_name = "NUMBER", value_parser = tenant)]
    tenant: Option<TenantId>,
    /// From this address, from anyone at @DOMAIN, or from the null sender <>
    #[arg(long, value_name = "ADDRESS", value_parser = |text: &str| AddressPattern::sender(text))]
    sender: Option<AddressPattern>,
    /// To this address, or to anyone at @DOMAIN
    #[arg(long, value_name = "ADDRESS", value_parser = |text: &str| AddressPattern::recipient(text))]
    recipient: Option<AddressPattern>,
    /// To this domain
    #[arg(long, value_name = "DOMAIN", value_parser = |text: &str| Domain::parse(text))]
    destination: Option<Domain>,
    /// Last attempted at an exchanger of this provider of the configuration
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    provider: Option<String>,
    /// Never attempted (waiting), with a failed attempt behind it (deferred), or held
    #[arg(long, value_parser = state)]
    state: Option<DeliveryState>,
    /// The same as --state deferred
    #[arg(long, conflicts_with = "state")]
    deferred: bool,
    /// Accepted longer ago than this, such as 30m, 2h or 1d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    older_than: Option<Duration>,
    /// Accepted within this time, such as 30m, 2h or 1d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    newer_than: Option<Duration>,
    /// Attempted at least so often
    #[arg(long, value_name = "NUMBER")]
    min_attempts: Option<u16>,
    /// What the last attempt was told, or what went wrong, contains this text, in any case
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    reply: Option<String>,
    /// What the last attempt was told has this code: 4xx, 421, or an enhanced code such as 4.7.1
    #[arg(long, value_name = "CODE")]
    code: Option<ReplyCode>,
    /// Of messages larger than this, such as 500KB or 10MiB
    #[arg(long, value_name = "SIZE")]
    larger_than: Option<ByteSize>,
}

impl FilterOptions {
    /// What is meant, with ages as of `now`.
    pub(crate) fn filter(&self, now: Timestamp) -> Filter {
        Filter {
            messages: self.messages.clone(),
            tenant: self.tenant,
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            destination: self.destination.clone(),
            provider: self.provider.clone(),
            state: self.state.or_else(|| self.deferred.then_some(DeliveryState::Deferred)),
            accepted_before: self.older_than.map(|age| now.before(age)),
            accepted_since: self.newer_than.map(|age| now.before(age)),
            min_attempts: self.min_attempts.filter(|attempts| *attempts > 0),
            reply_text: self.reply.clone(),
            reply_code: self.code,
            larger_than: self.larger_than.map(|size| size.as_u64()),
        }
    }
}

fn tenant(text: &str) -> Result<TenantId, String> {
    let number = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if number < 0 { Err(format!("{number} is negative")) } else { Ok(TenantId(number)) }
}

fn state(text: &str) -> Result<DeliveryState, ApiError> {
    text.parse()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        options: FilterOptions,
    }

    fn parse(words: &[&str]) -> Result<Filter, String> {
        let parsed = Command::try_parse_from(std::iter::once("queue").chain(words.iter().copied()));
        let now = Timestamp::from_secs(1_800_000_000);
        parsed.map(|command| command.options.filter(now)).map_err(|error| error.to_string())
    }

    #[test]
    fn everything_said_is_meant() {
        assert!(parse(&[]).unwrap().is_empty());
        let words = "--message 0003g9230vqvs --message 0003g9230vqvt --tenant 7 --sender <> --recipient @B.example \
                     --destination b.example --provider big --deferred --older-than 2h --newer-than 1d \
                     --min-attempts 3 --reply later --code 4.7.1 --larger-than 10KiB";
        let filter = parse(&words.split_whitespace().collect::<Vec<_>>()).unwrap();
        assert_eq!(filter.criteria(), 13);
        assert_eq!((filter.messages.len(), filter.sender), (2, Some(AddressPattern::Null)));
        assert_eq!(filter.accepted_before, Some(Timestamp::from_secs(1_800_000_000 - 7200)));
        assert_eq!(filter.accepted_since, Some(Timestamp::from_secs(1_800_000_000 - 86_400)));
        assert_eq!((filter.larger_than, filter.state), (Some(10_240), Some(DeliveryState::Deferred)));
        assert_eq!(filter.reply_code, "4.7.1".parse().ok());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_before_anybody_is_asked() {
        for (words, told) in [
            (["--state", "defered"], "did you mean `deferred`?"),
            (["--sender", "nobody"], "expected an address, `@domain`, or `<>`"),
            (["--recipient", "<>"], "expected an address or `@domain`"),
            (["--code", "9xx"], "expected a class such as 4xx"),
            (["--older-than", "2"], "such as 12h"),
            (["--tenant", "seven"], "is no number"),
            (["--message", "0"], "not an id"),
            (["--larger-than", "big"], "larger-than"),
            (["--reply", ""], "a value is required"),
            (["--provider", ""], "a value is required"),
        ] {
            let error = parse(&words).unwrap_err();
            assert!(error.contains(told), "{words:?}: {error}");
        }
        assert!(parse(&["--deferred", "--state", "waiting"]).unwrap_err().contains("cannot be used with"));
    }
}

//! Which recipients there are, and who gets mail for whom. Not responsible for whether a client may send to them.
//!
//! A recipient of our domains is looked up as it is, then without its detail (`user+detail`, or whatever the configured
//! delimiter is), then as any of its domain.
//! An alias names who gets its mail, and those are looked up in turn. Where a file, the database or a server knows the
//! recipients of a domain, nobody else is taken there (RFC 5321 §3.5.3 has the alternative: bounces to forged senders).
//!
//! | module | holds |
//! |---|---|
//! | `file` | recipients and aliases in files |
//! | `database` | the same in the queue's database, remembered for a while |
//! | `call_ahead` | servers that are asked |

mod call_ahead;
mod database;
mod file;

use std::collections::HashSet;
use std::sync::Arc;

use mailtier_config::{ConfigError, InboundConfig};
use mailtier_types::Mailbox;
use mailtier_types::id::MAX_FANOUT;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::policy::relay::RelayPolicy;
use call_ahead::CallAhead;
use database::Database;
use file::Files;

/// How many aliases may lead from one to the next.
const MAX_DEPTH: usize = 10;
/// The most recipients one may become: as many as a message can have.
const MAX_TARGETS: usize = MAX_FANOUT as usize;

/// What was found of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// These get its mail: itself, or who its aliases name.
    Recipients(Vec<Mailbox>),
    /// There is no such recipient.
    Unknown,
    /// Nobody could be asked just now.
    Unsure,
}

/// What one source says of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// Its mail goes to these.
    Alias(Vec<Mailbox>),
    /// It exists.
    Known,
    /// This source does not know it. `decides`: it knows all there are.
    Unknown { decides: bool },
    /// It could not be asked.
    Unsure,
}

/// All sources.
#[derive(Debug)]
pub(crate) struct Recipients {
    files: Arc<Files>,
    database: Option<Arc<Database>>,
    call_ahead: Vec<CallAhead>,
    delimiter: Option<char>,
}

impl Recipients {
    /// What is remembered of those before stays, where it comes from the same sources.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn new(config: &InboundConfig, hostname: &str, before: Option<&Self>) -> Result<Self, ConfigError> {
        let (recipients, aliases) = (config.recipients_file.as_deref(), config.aliases_file.as_deref());
        let files = match before.filter(|before| before.files.are(recipients, aliases)) {
            Some(before) => Arc::clone(&before.files),
            None => Files::load(recipients, aliases)?,
        };
        files.refresh();
        let remembered = || before.and_then(|before| before.database.clone());
        let call_ahead = config.call_ahead.iter().map(|one| CallAhead::new(one, hostname)).collect::<Result<_, _>>()?;
        Ok(Self {
            files,
            database: config.recipients_in_database.then(|| remembered().unwrap_or_else(|| Arc::new(Database::new()))),
            call_ahead,
            delimiter: config.recipient_delimiter.chars().next(),
        })
    }

    /// Keeps what is read from files fresh, until the end or until nobody uses it any more; nothing where those before
    /// have the same files.
    pub(crate) fn keep_fresh(&self, before: Option<&Self>, tasks: &TaskTracker, end: &CancellationToken) {
        if !before.is_some_and(|before| Arc::ptr_eq(&before.files, &self.files)) {
            tasks.spawn(Files::watch(Arc::downgrade(&self.files), end.clone()));
        }
    }

    /// Who gets what is sent to a recipient of ours. An alias that cannot be followed to its end is nobody's mistake who
    /// writes to it: the mail waits until an operator has mended it.
    pub(crate) async fn find(&self, recipient: &Mailbox, relay: &RelayPolicy, accounts: &Accounts) -> Found {
        let mut found = Vec::new();
        let mut dead = Vec::new();
        let mut seen = HashSet::from([recipient.clone()]);
        let mut open = vec![(recipient.clone(), 0)];
        while let Some((member, depth)) = open.pop() {
            // Only of our own domains we know who there is.
            if !relay.is_ours(member.domain_str()) && depth > 0 {
                found.push(member);
                continue;
            }
            match self.look_up(&member, accounts).await {
                Answer::Alias(_) if depth == MAX_DEPTH => return broken(recipient, "it leads through too many others"),
                Answer::Alias(targets) => {
                    for target in targets {
                        if target == member {
                            // Mail for oneself and for others.
                            found.push(target);
                        } else if seen.insert(target.clone()) {
                            open.push((target, depth + 1));
                        }
                    }
                    if seen.len() > MAX_TARGETS {
                        return broken(recipient, "it has too many members");
                    }
                }
                Answer::Known | Answer::Unknown { decides: false } => found.push(member),
                Answer::Unknown { decides: true } if depth == 0 => return Found::Unknown,
                Answer::Unknown { decides: true } => dead.push(member),
                Answer::Unsure => return Found::Unsure,
            }
        }
        concluded(recipient, found, dead)
    }

    /// What the sources say, the first that knows.
    async fn look_up(&self, recipient: &Mailbox, accounts: &Accounts) -> Answer {
        let patterns = Patterns::of(recipient, self.delimiter);
        let of_files = self.files.look_up(&patterns);
        let mut decides = match of_files {
            Answer::Unknown { decides } => decides,
            answer => return answer,
        };
        let mut unsure = false;
        if let Some(database) = &self.database {
            match database.look_up(&patterns, accounts).await {
                Answer::Unknown { decides: also } => decides |= also,
                Answer::Unsure => unsure = true,
                answer => return answer,
            }
        }
        if let Some(server) = self.call_ahead.iter().find(|server| server.is_for(recipient)) {
            match server.look_up(recipient).await {
                Answer::Unknown { decides: also } => decides |= also,
                Answer::Unsure => unsure = true,
                answer => return answer,
            }
        }
        if unsure { Answer::Unsure } else { Answer::Unknown { decides } }
    }
}

/// Whoever is named and does not exist is tried like the others, so that the sender hears of it; where nobody exists, he
/// hears it at once.
fn concluded(alias: &Mailbox, mut found: Vec<Mailbox>, dead: Vec<Mailbox>) -> Found {
    for nobody in &dead {
        tracing::warn!(%alias, member = %nobody, "an alias names somebody who does not exist");
    }
    match (found.is_empty(), dead.is_empty()) {
        (true, true) => broken(alias, "it leads in a circle"),
        (true, false) => Found::Unknown,
        (false, _) => {
            found.extend(dead);
            Found::Recipients(found)
        }
    }
}

fn broken(alias: &Mailbox, problem: &str) -> Found {
    tracing::error!(%alias, problem, "an alias cannot be followed; its mail is told to wait");
    Found::Unsure
}

/// Under what a recipient may be known, the most precise first, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Patterns {
    exact: String,
    /// Without its detail.
    plain: Option<String>,
    /// Any of its domain.
    domain: String,
    /// What follows the delimiter, and the delimiter.
    detail: Option<(String, char)>,
}

impl Patterns {
    fn of(recipient: &Mailbox, delimiter: Option<char>) -> Self {
        let (local, domain) = (recipient.local_part(), recipient.domain_str());
        // A quoted local part has no detail: what is in it may mean anything.
        let is_plain = !local.starts_with('"');
        let delimiter = delimiter.filter(|_| is_plain);
        let split = delimiter.and_then(|delimiter| Some((local.split_once(delimiter)?, delimiter)));
        let split = split.filter(|((user, _), _)| !user.is_empty());
        Self {
            exact: recipient.as_str().to_lowercase(),
            plain: split.map(|((user, _), _)| format!("{}@{domain}", user.to_lowercase())),
            domain: format!("@{domain}"),
            detail: split.map(|((_, detail), delimiter)| (detail.to_owned(), delimiter)),
        }
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.exact).chain(&self.plain).chain(std::iter::once(&self.domain))
    }

    /// What is said of the most precise pattern that anything is said of.
    fn judge(&self, said: impl Fn(&str) -> Option<Vec<Mailbox>>) -> Option<Answer> {
        let pattern = self.all().find_map(|pattern| said(pattern).map(|targets| (pattern, targets)));
        let (pattern, targets) = pattern?;
        Some(match targets.is_empty() {
            true => Answer::Known,
            // The detail goes along, as Postfix has it (`propagate_unmatched_extensions`).
            false if Some(pattern) == self.plain.as_ref() => {
                Answer::Alias(targets.iter().map(|target| self.with_detail(target)).collect())
            }
            false => Answer::Alias(targets),
        })
    }

    fn with_detail(&self, target: &Mailbox) -> Mailbox {
        let Some((detail, delimiter)) = &self.detail else { return target.clone() };
        let local = target.local_part();
        if local.starts_with('"') || local.contains(*delimiter) {
            return target.clone();
        }
        let detailed = format!("{local}{delimiter}{detail}");
        Mailbox::from_parts(&detailed, &target.domain()).unwrap_or_else(|_| target.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    #[test]
    fn a_recipient_is_known_under_three_patterns() {
        let all = |text: &str, delimiter| Patterns::of(&mailbox(text), delimiter).all().cloned().collect::<Vec<_>>();
        assert_eq!(all("User+X@example.org", Some('+')), ["user+x@example.org", "user@example.org", "@example.org"]);
        assert_eq!(all("user+x@example.org", None), ["user+x@example.org", "@example.org"]);
        assert_eq!(all("+x@example.org", Some('+')), ["+x@example.org", "@example.org"]);
        assert_eq!(all("\"a b+x\"@example.org", Some('+')).len(), 2);
    }

    #[test]
    fn the_most_precise_pattern_counts_and_details_go_along() {
        let said = |pattern: &str| match pattern {
            "user@example.org" => Some(vec![mailbox("other@example.net")]),
            "@example.org" => Some(Vec::new()),
            _ => None,
        };
        let judge_with = |delimiter, text: &str| Patterns::of(&mailbox(text), Some(delimiter)).judge(said);
        let judge = |text: &str| judge_with('+', text);
        assert_eq!(judge("user@example.org"), Some(Answer::Alias(vec![mailbox("other@example.net")])));
        assert_eq!(judge("user+x@example.org"), Some(Answer::Alias(vec![mailbox("other+x@example.net")])));
        assert_eq!(judge("anyone@example.org"), Some(Answer::Known));
        assert_eq!(judge("anyone@example.com"), None);
        assert_eq!(judge_with('-', "user-x@example.org"), Some(Answer::Alias(vec![mailbox("other-x@example.net")])));
        assert_eq!(
            judge_with('-', "user-x+y@example.org"),
            Some(Answer::Alias(vec![mailbox("other-x+y@example.net")]))
        );
        assert_eq!(judge_with('-', "user+x@example.org"), Some(Answer::Known), "nobody of that name but any");
    }

    #[test]
    fn a_target_keeps_the_detail_it_has() {
        let said = |pattern: &str| match pattern {
            "user@example.org" => Some(vec![mailbox("other+y@example.net"), mailbox("\"o p\"@example.net")]),
            _ => None,
        };
        let judge = |text: &str, delimiter| match Patterns::of(&mailbox(text), Some(delimiter)).judge(said) {
            Some(Answer::Alias(targets)) => targets.iter().map(ToString::to_string).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(judge("user+x@example.org", '+'), ["other+y@example.net", "\"o p\"@example.net"]);
        assert_eq!(judge("user=x@example.org", '='), ["other+y=x@example.net", "\"o p\"@example.net"]);
    }
}

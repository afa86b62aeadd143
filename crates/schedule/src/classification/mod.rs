//! What a failure means: the first rule that fits a reply says its bounce class, whether trying again can help, and what
//! follows for the destination; where none fits, the RFCs do (`fallback`). Not responsible for carrying that out, nor for
//! when the next attempt comes (`classify`).
//!
//! Rules are an operator's, then those of `default.toml`. They are grouped by stage and first digit, and all their texts
//! are one automaton that reads a reply once, in linear time whatever the texts.

mod error;
mod fallback;
mod file;
mod pattern;
mod rule;

use std::borrow::Cow;
use std::time::Duration;

use mailtier_types::{BounceClass, Cause, Outcome, Stage};
use regex::bytes::{RegexBuilder, RegexSet, RegexSetBuilder};

pub use error::ClassificationError;
use file::Draft;
use rule::Rule;

/// The rules that this program comes with.
const DEFAULT_RULES: &str = include_str!("default.toml");
/// What is looked at of a reply's text, in octets.
const MAX_TEXT_OCTETS: usize = 2048;
/// What the automaton of all texts may take, in octets: itself, and what it has computed so far.
const MAX_AUTOMATON_OCTETS: usize = 16 << 20;
/// Groups of one stage: 4yz and 5yz.
const GROUPS_PER_STAGE: usize = 2;

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can.
    Temporary,
    /// It cannot.
    Permanent,
}

impl Verdict {
    /// The word for it in rules.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Temporary => "temporary",
            Self::Permanent => "permanent",
        }
    }
}

/// Whom an action is about. What concerns more is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// The destination of the delivery.
    Destination,
    /// All destinations of its provider; the destination alone where it has none.
    Provider,
}

impl Whom {
    /// The word for it in rules.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Destination => "destination",
            Self::Provider => "provider",
        }
    }
}

/// What follows from a reply for more than the delivery. What is harder is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Our address is not used for a time; others of its egress pool are.
    SwitchAddress {
        /// Of whom.
        whom: Whom,
        /// For how long.
        time: Duration,
    },
    /// The destination gets half as much at a time.
    SlowDown,
    /// Nothing more is attempted for a time.
    Suspend {
        /// Of whom.
        whom: Whom,
        /// For how long.
        time: Duration,
    },
}

/// What an outcome means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement<'a> {
    /// Why.
    pub class: BounceClass,
    /// Whether trying again can help.
    pub verdict: Verdict,
    /// What follows for more than the delivery.
    pub action: Option<Action>,
    /// It is tried from another address: the action says so, and there is one.
    pub switches: bool,
    /// The rule that said so; absent where the RFCs did.
    pub rule: Option<&'a str>,
}

/// All rules, ready to judge.
#[derive(Debug)]
pub struct Classification {
    rules: Vec<Rule>,
    /// By stage and first digit: which rules may fit, in order.
    groups: Vec<Vec<usize>>,
    /// The texts of all rules, one after the other.
    texts: RegexSet,
}

impl Classification {
    /// An operator's rules, if any, and after them the built-in ones, unless the operator's file says not to.
    ///
    /// # Errors
    /// [`ClassificationError`] names the rule, the key and what would be right.
    pub fn new(own: Option<&str>) -> Result<Self, ClassificationError> {
        let mut file = match own {
            Some(text) => file::read(text)?,
            None => file::File::default(),
        };
        if file.builtin {
            file.append(file::read(DEFAULT_RULES)?)?;
        }
        Self::compile(file.drafts)
    }

    fn compile(drafts: Vec<Draft>) -> Result<Self, ClassificationError> {
        let texts: Vec<&str> = drafts.iter().flat_map(|draft| &draft.texts).map(String::as_str).collect();
        let set = RegexSetBuilder::new(&texts)
            .case_insensitive(true)
            .unicode(false)
            .size_limit(MAX_AUTOMATON_OCTETS)
            .dfa_size_limit(MAX_AUTOMATON_OCTETS)
            .build()
            .map_err(|error| blame(&drafts, &error))?;
        let mut groups = vec![Vec::new(); Stage::ALL.len() * GROUPS_PER_STAGE];
        for (index, draft) in drafts.iter().enumerate() {
            for stage in Stage::ALL.into_iter().filter(|stage| draft.concerns(*stage)) {
                for digit in [4, 5].into_iter().filter(|digit| draft.may_begin_with(*digit)) {
                    if let Some(group) = group_of(stage, digit).and_then(|group| groups.get_mut(group)) {
                        group.push(index);
                    }
                }
            }
        }
        let mut first_text = 0;
        let rules = drafts.into_iter().map(|draft| Rule::new(draft, &mut first_text)).collect();
        Ok(Self { rules, groups, texts: set })
    }

    /// What an outcome means; nothing where the message was delivered.
    #[must_use]
    pub fn judge(&self, outcome: &Outcome) -> Option<Judgement<'_>> {
        if outcome.is_delivered() {
            return None;
        }
        let rule = self.rule_for(outcome);
        let action = rule.and_then(|rule| rule.action);
        let has_others = outcome.egress.as_ref().is_some_and(|egress| egress.source.is_some() && egress.has_others);
        let switches = has_others && matches!(action, Some(Action::SwitchAddress { .. }));
        let said = || rule.and_then(|rule| rule.verdict).unwrap_or_else(|| fallback::verdict_of(outcome));
        Some(Judgement {
            class: rule.map_or_else(|| fallback::class_of(outcome), |rule| rule.class),
            // What is said of one address is not the last word.
            verdict: if switches { Verdict::Temporary } else { said() },
            action,
            switches,
            rule: rule.map(|rule| rule.name.as_str()),
        })
    }

    /// The names of all rules, in order.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str())
    }

    fn rule_for(&self, outcome: &Outcome) -> Option<&Rule> {
        let Cause::Reply(reply) = &outcome.cause else { return None };
        let group = self.groups.get(group_of(outcome.stage, reply.code / 100)?)?;
        let said = self.texts.matches(&readable(&reply.text));
        let exchanger = outcome.remote.as_ref().map(|remote| remote.name.as_str());
        group.iter().filter_map(|index| self.rules.get(*index)).find(|rule| rule.fits(reply, exchanger, &said))
    }
}

/// The number of a group; none for replies that no rule is about.
fn group_of(stage: Stage, digit: u16) -> Option<usize> {
    let within = usize::from(digit.checked_sub(4)?);
    (within < GROUPS_PER_STAGE).then_some(stage as usize * GROUPS_PER_STAGE + within)
}

/// The text in one line, as far as it is looked at: hosts break it where they like.
fn readable(text: &str) -> Cow<'_, [u8]> {
    let octets = text.as_bytes();
    let octets = octets.get(..MAX_TEXT_OCTETS).unwrap_or(octets);
    match octets.contains(&b'\n') {
        true => octets.iter().map(|octet| if *octet == b'\n' { b' ' } else { *octet }).collect(),
        false => Cow::Borrowed(octets),
    }
}

/// Which text it is that cannot be compiled.
fn blame(drafts: &[Draft], error: &regex::Error) -> ClassificationError {
    let every = drafts.iter().flat_map(|draft| draft.texts.iter().map(move |text| (draft, text)));
    for (draft, text) in every {
        let built = RegexBuilder::new(text).unicode(false).size_limit(MAX_AUTOMATON_OCTETS).build();
        if let Err(error) = built {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default();
            return ClassificationError::rule(&draft.name, "texts", format!("has `{text}`: {reason}"));
        }
    }
    ClassificationError::TooLarge(error.to_string())
}

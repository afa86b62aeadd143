//! One rule, and whether it fits a reply.

use std::ops::Range;

use mailtier_types::{BounceClass, Reply};
use regex::bytes::SetMatches;

use super::file::Draft;
use super::pattern::{CodePattern, EnhancedPattern};
use super::{Action, Verdict};
use crate::rules::is_below;

/// A rule, its texts compiled with all others'. Its stages are in how rules are grouped.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    exchangers: Vec<String>,
    codes: Vec<CodePattern>,
    enhanced: Vec<EnhancedPattern>,
    texts: Range<usize>,
    pub(super) class: BounceClass,
    pub(super) verdict: Option<Verdict>,
    pub(super) action: Option<Action>,
}

impl Rule {
    /// Its texts are the next among all.
    pub(super) fn new(draft: Draft, first_text: &mut usize) -> Self {
        let texts = *first_text..*first_text + draft.texts.len();
        *first_text = texts.end;
        let Draft { name, exchangers, codes, enhanced, class, verdict, action, .. } = draft;
        Self { name, exchangers, codes, enhanced, texts, class, verdict, action }
    }

    /// Whether everything that it asks for is so; of each list one suffices, and an empty one asks for nothing.
    pub(super) fn fits(&self, reply: &Reply, exchanger: Option<&str>, said: &SetMatches) -> bool {
        let is_theirs = |domain: &String| exchanger.is_some_and(|exchanger| is_below(exchanger, domain));
        let is_such = |pattern: &EnhancedPattern| reply.enhanced.is_some_and(|code| pattern.fits(code));
        (self.codes.is_empty() || self.codes.iter().any(|pattern| pattern.fits(reply.code)))
            && (self.enhanced.is_empty() || self.enhanced.iter().any(is_such))
            && (self.texts.is_empty() || self.texts.clone().any(|text| said.matched(text)))
            && (self.exchangers.is_empty() || self.exchangers.iter().any(is_theirs))
    }
}

//! The format of a file of rules (docs/classification.md) and its reading, with everything that can be wrong in it but
//! for the texts, which are compiled together.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use mailtier_types::{BounceClass, Stage};
use serde::Deserialize;
use toml::{Table, Value};

use super::error::{ClassificationError, expected};
use super::pattern::{CodePattern, EnhancedPattern};
use super::{Action, Verdict, Whom};

/// Keys of a file.
const FILE_KEYS: [&str; 3] = ["builtin", "exchangers", "rules"];
/// Keys of a rule.
const RULE_KEYS: [&str; 12] =
    ["name", "at", "exchangers", "stages", "codes", "enhanced", "texts", "class", "verdict", "action", "on", "for"];
/// Rules of an operator and the built-in ones together.
const MAX_RULES: usize = 4096;
/// One text, in octets.
const MAX_PATTERN_OCTETS: usize = 512;
/// The longest time that one reply suspends somebody or an address for, and the shortest.
const MAX_PAUSE: Duration = Duration::from_secs(86_400);
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// What a file says.
#[derive(Debug)]
pub(super) struct File {
    /// Whether the built-in rules come after its own.
    pub(super) builtin: bool,
    pub(super) drafts: Vec<Draft>,
}

impl Default for File {
    fn default() -> Self {
        Self { builtin: true, drafts: Vec::new() }
    }
}

impl File {
    /// Adds the rules of another after its own.
    pub(super) fn append(&mut self, other: Self) -> Result<(), ClassificationError> {
        self.drafts.extend(other.drafts);
        let mut names = HashSet::new();
        let again = self.drafts.iter().find(|draft| !names.insert(draft.name.as_str()));
        let taken = |draft: &Draft| {
            Err(ClassificationError::rule(&draft.name, "name", "is that of a built-in rule; give it another"))
        };
        again.map_or(Ok(()), taken)
    }
}

/// A rule as it is written, all but its texts understood.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) exchangers: Vec<String>,
    stages: Vec<Stage>,
    pub(super) codes: Vec<CodePattern>,
    pub(super) enhanced: Vec<EnhancedPattern>,
    pub(super) texts: Vec<String>,
    pub(super) class: BounceClass,
    pub(super) verdict: Option<Verdict>,
    pub(super) action: Option<Action>,
}

impl Draft {
    pub(super) fn concerns(&self, stage: Stage) -> bool {
        self.stages.is_empty() || self.stages.contains(&stage)
    }

    pub(super) fn may_begin_with(&self, digit: u16) -> bool {
        self.codes.is_empty() || self.codes.iter().any(|pattern| pattern.may_begin_with(digit))
    }
}

/// A rule's values, of the right kinds.
#[derive(Deserialize)]
struct Written {
    name: String,
    at: Option<String>,
    #[serde(default)]
    exchangers: Vec<String>,
    #[serde(default)]
    stages: Vec<String>,
    #[serde(default)]
    codes: Vec<String>,
    #[serde(default)]
    enhanced: Vec<String>,
    #[serde(default)]
    texts: Vec<String>,
    class: String,
    verdict: Option<String>,
    action: Option<String>,
    on: Option<String>,
    r#for: Option<String>,
}

/// Names of groups of exchangers, and the domains these are below.
type Groups = BTreeMap<String, Vec<String>>;

/// Reads a file.
pub(super) fn read(text: &str) -> Result<File, ClassificationError> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| ClassificationError::Syntax(error.to_string()))?;
    known_keys(&table, &FILE_KEYS).map_err(|(key, problem)| ClassificationError::key(key, problem))?;
    let builtin = match table.get("builtin") {
        None => true,
        Some(value) => {
            value.as_bool().ok_or_else(|| ClassificationError::key("builtin", "is neither true nor false"))?
        }
    };
    let groups: Groups = match table.get("exchangers") {
        None => Groups::new(),
        Some(value) => value.clone().try_into().map_err(|error: toml::de::Error| {
            ClassificationError::key("exchangers", format!("is to have lists of domains by name: {}", error.message()))
        })?,
    };
    let rules = match table.get("rules") {
        None => &Vec::new(),
        Some(Value::Array(rules)) => rules,
        Some(_) => return Err(ClassificationError::key("rules", "is no list of tables; write [[rules]] before each")),
    };
    if rules.len() > MAX_RULES {
        return Err(ClassificationError::key("rules", format!("are {}, and at most {MAX_RULES}", rules.len())));
    }
    let drafts =
        rules.iter().enumerate().map(|(index, rule)| draft(index, rule, &groups)).collect::<Result<Vec<_>, _>>()?;
    let mut names = HashSet::new();
    if let Some(again) = drafts.iter().find(|draft| !names.insert(draft.name.as_str())) {
        return Err(ClassificationError::rule(&again.name, "name", "is there twice; give one another"));
    }
    Ok(File { builtin, drafts })
}

/// The first key that is none, and which was probably meant.
fn known_keys<'a>(table: &'a Table, known: &[&str]) -> Result<(), (&'a str, String)> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err((key, format!("is no key; {}", expected(key, known.iter().copied())))),
    }
}

fn draft(index: usize, rule: &Value, groups: &Groups) -> Result<Draft, ClassificationError> {
    let number = (index + 1).to_string();
    let Value::Table(table) = rule else {
        return Err(ClassificationError::key("rules", "has something that is no table"));
    };
    let name = table.get("name").and_then(Value::as_str).unwrap_or(&number);
    let bad = |key: &str, problem: String| ClassificationError::rule(name, key, problem);
    known_keys(table, &RULE_KEYS).map_err(|(key, problem)| bad(key, problem))?;
    for key in ["name", "class"] {
        if !table.contains_key(key) {
            return Err(bad(key, "is missing".to_owned()));
        }
    }
    for (key, value) in table {
        let is_list = matches!(key.as_str(), "exchangers" | "stages" | "codes" | "enhanced" | "texts");
        let is_right = match value {
            Value::Array(values) => is_list && !values.is_empty() && values.iter().all(Value::is_str),
            value => !is_list && value.is_str(),
        };
        if !is_right {
            let kind = if is_list { "a list of texts in quotes, not empty" } else { "a text in quotes" };
            return Err(bad(key, format!("is {value}; expected {kind}")));
        }
    }
    let written: Written =
        rule.clone().try_into().map_err(|error: toml::de::Error| bad("name", error.message().to_owned()))?;
    understand(written, groups)
}

fn understand(written: Written, groups: &Groups) -> Result<Draft, ClassificationError> {
    let bad = |key: &str, problem: String| ClassificationError::rule(&written.name, key, problem);
    let mut exchangers: Vec<String> = written.exchangers.clone();
    if let Some(at) = &written.at {
        let group = groups.get(at);
        exchangers.extend(group.cloned().ok_or_else(|| {
            let known = groups.keys().map(String::as_str);
            bad("at", format!("is `{at}`, which [exchangers] does not name; {}", expected(at, known)))
        })?);
    }
    exchangers.iter_mut().for_each(|domain| *domain = domain.trim_start_matches('.').to_ascii_lowercase());
    let stage = |word: &String| {
        let found = Stage::ALL.into_iter().find(|stage| stage.name() == word);
        found.ok_or_else(|| bad("stages", format!("has `{word}`; {}", expected(word, Stage::ALL.map(Stage::name)))))
    };
    let code =
        |text: &String| text.parse().map_err(|_| bad("codes", format!("has `{text}`; expected such as 421 or 5xx")));
    let status = |text: &String| {
        text.parse().map_err(|_| bad("enhanced", format!("has `{text}`; expected such as 4.7.28 or x.2.2")))
    };
    if let Some(text) = written.texts.iter().find(|text| text.len() > MAX_PATTERN_OCTETS) {
        return Err(bad("texts", format!("has `{text}`, longer than {MAX_PATTERN_OCTETS} octets")));
    }
    let draft = Draft {
        exchangers,
        stages: written.stages.iter().map(stage).collect::<Result<_, _>>()?,
        codes: written.codes.iter().map(code).collect::<Result<_, _>>()?,
        enhanced: written.enhanced.iter().map(status).collect::<Result<_, _>>()?,
        class: word("class", &written.class, BounceClass::ALL.iter().map(|class| (class.name(), *class)))
            .map_err(|(key, problem)| bad(key, problem))?,
        verdict: match &written.verdict {
            Some(text) => {
                let verdicts = [Verdict::Temporary, Verdict::Permanent].map(|verdict| (verdict.name(), verdict));
                Some(word("verdict", text, verdicts).map_err(|(key, problem)| bad(key, problem))?)
            }
            None => None,
        },
        action: action(&written).map_err(|(key, problem)| bad(key, problem))?,
        texts: written.texts.clone(),
        name: written.name.clone(),
    };
    Ok(draft)
}

/// A key, and what is wrong with its value.
type Problem = (&'static str, String);

fn word<T>(key: &'static str, found: &str, words: impl IntoIterator<Item = (&'static str, T)>) -> Result<T, Problem> {
    let (names, mut values): (Vec<&str>, Vec<T>) = words.into_iter().unzip();
    match names.iter().position(|name| *name == found) {
        Some(index) => Ok(values.swap_remove(index)),
        None => Err((key, format!("is `{found}`; {}", expected(found, names)))),
    }
}

fn action(written: &Written) -> Result<Option<Action>, Problem> {
    let Some(name) = &written.action else {
        return match (&written.on, &written.r#for) {
            (Some(_), _) => Err(("on", "is set without an `action`".to_owned())),
            (_, Some(_)) => Err(("for", "is set without an `action`".to_owned())),
            (None, None) => Ok(None),
        };
    };
    let whom = match &written.on {
        Some(text) => word("on", text, [Whom::Destination, Whom::Provider].map(|whom| (whom.name(), whom)))?,
        None => Whom::Destination,
    };
    let kind = word("action", name, [Kind::SlowDown, Kind::Suspend, Kind::Switch].map(|kind| (kind.name(), kind)))?;
    let pause = written.r#for.as_deref().map(pause).transpose()?;
    match (kind, pause) {
        (Kind::SlowDown, Some(_)) => Err(("for", "has no meaning with `slow_down`".to_owned())),
        (Kind::SlowDown, None) if whom == Whom::Provider => Err((
            "on",
            "is `provider`, which has no speed of its own: slow down its destinations, or suspend it".to_owned(),
        )),
        (Kind::SlowDown, None) => Ok(Some(Action::SlowDown)),
        (Kind::Suspend, None) => Err(("for", "is missing: say how long to suspend, such as \"30m\"".to_owned())),
        (Kind::Suspend, Some(time)) => Ok(Some(Action::Suspend { whom, time })),
        (Kind::Switch, None) => {
            Err(("for", "is missing: say how long to leave the address alone, such as \"1h\"".to_owned()))
        }
        (Kind::Switch, Some(time)) => Ok(Some(Action::SwitchAddress { whom, time })),
    }
}

/// An action before its time and whom it is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    SlowDown,
    Suspend,
    Switch,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::SlowDown => "slow_down",
            Self::Suspend => "suspend",
            Self::Switch => "switch_address",
        }
    }
}

fn pause(text: &str) -> Result<Duration, Problem> {
    match humantime::parse_duration(text) {
        Ok(time) if (MIN_PAUSE..=MAX_PAUSE).contains(&time) => Ok(time),
        Ok(_) => Err(("for", format!("is `{text}`; expected 1s to 24h"))),
        Err(_) => Err(("for", format!("is `{text}`; expected a number with s, m or h, such as 30m"))),
    }
}

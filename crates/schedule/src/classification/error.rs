//! What is wrong with a file of rules: the rule, the key, and what would be right.

/// Values more different from a word than this are no slip of it (1 is equal).
const LEAST_SIMILARITY: f64 = 0.75;

/// Why rules cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClassificationError {
    /// The text is no TOML.
    #[error("{0}")]
    Syntax(String),
    /// A value outside the rules.
    #[error("`{key}` {problem}")]
    Key {
        /// Which.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A value of a rule.
    #[error("rule `{rule}`: `{key}` {problem}")]
    Rule {
        /// Its name, or its number where it has none.
        rule: String,
        /// Which of its keys.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// All texts together make too large an automaton.
    #[error("the texts of all rules together are too much: {0}")]
    TooLarge(String),
}

impl ClassificationError {
    pub(super) fn rule(rule: &str, key: &str, problem: impl Into<String>) -> Self {
        Self::Rule { rule: rule.to_owned(), key: key.to_owned(), problem: problem.into() }
    }

    pub(super) fn key(key: &str, problem: impl Into<String>) -> Self {
        Self::Key { key: key.to_owned(), problem: problem.into() }
    }
}

/// What is said of a word that is none of these: which was probably meant, else which there are.
pub(super) fn expected<'a>(found: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    let similar = words.iter().map(|word| (strsim::jaro_winkler(found, word), *word));
    let nearest = similar.filter(|(similarity, _)| *similarity >= LEAST_SIMILARITY).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, word)) => format!("did you mean `{word}`?"),
        None => format!("there are {}", words.join(", ")),
    }
}

//! Words an operator chooses from, and what is said about one that is not among them.

/// Values more different from a word than this are no slip of it (1 is equal).
const LEAST_SIMILARITY: f64 = 0.75;

/// Defines a choice: its words, as an enum that reads and writes them.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $name:ident { $( $(#[$word_meta:meta])* $variant:ident = $word:literal, )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $( $(#[$word_meta])* $variant, )*
        }

        impl $name {
            /// As it is written.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                match text.as_str() {
                    $( $word => Ok(Self::$variant), )*
                    _ => Err(serde::de::Error::custom(crate::words::expected(&text, &[$($word),*]))),
                }
            }
        }
    };
}

pub(crate) use words;

/// What is said of a word that is none of these: which there are, and which was probably meant.
#[must_use]
pub fn expected(found: &str, words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let list = match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    };
    let suggestion = nearest(found, words).map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
    format!("expected {list}{suggestion}")
}

/// The word that was probably meant.
fn nearest<'a>(found: &str, words: &[&'a str]) -> Option<&'a str> {
    let found = found.to_ascii_lowercase();
    words
        .iter()
        .map(|word| (strsim::jaro_winkler(&found, &word.to_ascii_lowercase()), *word))
        .filter(|(similarity, _)| *similarity >= LEAST_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

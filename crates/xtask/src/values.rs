//! The values of the Helm chart as a table, from the comments beside them. Not responsible for what may stand there: the
//! chart's schema says that.

use std::fmt::Write as _;

use anyhow::{Result, bail};

/// What begins the explanation of a value.
const EXPLAINS: &str = "# -- ";
/// Of one nesting.
const INDENT: usize = 2;

/// The table, from the text of values.yaml.
///
/// # Errors
/// A value is explained neither itself nor by what it is part of.
pub(crate) fn table(text: &str) -> Result<String> {
    let mut table = String::from("| value | default | meaning |\n|---|---|---|\n");
    let mut path: Vec<&str> = Vec::new();
    let mut explanation: Option<String> = None;
    // Below what is explained nothing has to be.
    let mut explained_at: Option<usize> = None;
    for line in text.lines() {
        let content = line.trim_start();
        let depth = (line.len() - content.len()) / INDENT;
        if content.is_empty() || explained_at.is_some_and(|at| depth > at) {
            continue;
        }
        explained_at = None;
        if let Some(comment) = content.strip_prefix(EXPLAINS) {
            explanation = Some(comment.to_owned());
        } else if let (Some(more), Some(explanation)) = (content.strip_prefix("# "), explanation.as_mut()) {
            *explanation += &format!(" {more}");
        } else if let Some((key, default)) = content.split_once(':').filter(|_| !content.starts_with('#')) {
            path.truncate(depth);
            path.push(key);
            let (name, default) = (path.join("."), default.trim());
            match explanation.take() {
                Some(explanation) => {
                    let default = if default.is_empty() || default == "|" {
                        "see there".to_owned()
                    } else {
                        format!("`{default}`")
                    };
                    let _ = writeln!(table, "| `{name}` | {default} | {} |", explanation.replace('|', "\\|"));
                    explained_at = Some(depth);
                }
                None if !default.is_empty() => {
                    bail!("values.yaml: `{name}` is not explained; write `{EXPLAINS}…` above it")
                }
                None => {}
            }
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_named_by_their_path() {
        let text = "# What it is for.\n\n# -- The name,\n# of the host.\nhostname: \"\"\ntier:\n  # -- How many.\n  replicas: 2\n  \
                    # -- What it has.\n  resources:\n    requests: {cpu: 1}\n";
        let rows: Vec<String> = table(text).unwrap().lines().skip(2).map(str::to_owned).collect();
        assert_eq!(
            rows,
            [
                "| `hostname` | `\"\"` | The name, of the host. |",
                "| `tier.replicas` | `2` | How many. |",
                "| `tier.resources` | see there | What it has. |",
            ]
        );
    }

    #[test]
    fn a_value_without_a_word_is_found() {
        let error = table("tier:\n  replicas: 2\n").unwrap_err();
        assert_eq!(error.to_string(), "values.yaml: `tier.replicas` is not explained; write `# -- …` above it");
    }
}

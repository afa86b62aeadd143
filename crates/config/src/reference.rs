//! docs/configuration.md, from the types.

use std::fmt::Write as _;

use crate::{Config, Key};

/// The reference of every key: name, kind, default, meaning, and the variable that overrides it.
#[must_use]
pub fn reference_markdown() -> String {
    let defaults = toml::Value::try_from(Config::default()).unwrap_or(toml::Value::Table(toml::Table::new()));
    let mut text = String::from(
        "# Configuration\n\n\
         <!-- Generated from the types by `make generate`; edit those. -->\n\n\
         One TOML file for all programs, given with `--config` or `MAILTIER_CONFIG`. Every key has a default, and every key can be\n\
         overridden by an environment variable: `MAILTIER__<SECTION>__<KEY>`, such as `MAILTIER__QUEUE__RETRY_FIRST=10m`; lists are\n\
         separated by commas; lists of tables have their place in the file. An unknown key is an error, and so is a value that no\n\
         installation can mean. Durations are written like `30s`, `5m`, `4h`, `5d`; sizes like `64MiB`; networks like `192.0.2.0/24`, or a single\n\
         address.\n\
         `mailtier config check` says whether a file is valid, `--print-config` of every program what it comes to.\n\n\
         A running program takes up a changed file by itself, or on SIGHUP: docs/operations.md says how. What it takes up only at\n\
         its next start says `restart` under \"change\".\n",
    );
    for (section, about, keys) in Config::SECTIONS {
        let _ = write!(text, "\n## `[{section}]`\n\n{}\n\n", join(about));
        text.push_str("| key | kind | default | change | meaning |\n|---|---|---|---|---|\n");
        for key in *keys {
            let default = defaults.get(section).and_then(|section| section.get(key.name));
            let default = default.map_or_else(|| "not set".to_owned(), |value| format!("`{value}`"));
            let (change, meaning) = (change(key), join(key.lines));
            let _ = writeln!(text, "| `{}` | {} | {default} | {change} | {meaning} |", key.name, key.kind);
        }
    }
    for (name, about, keys) in Config::TABLES {
        let _ =
            write!(text, "\n## `{name}`\n\n{}\n\n| key | kind | change | meaning |\n|---|---|---|---|\n", join(about));
        for key in *keys {
            let _ = writeln!(text, "| `{}` | {} | {} | {} |", key.name, key.kind, change(key), join(key.lines));
        }
    }
    text
}

/// When a change of a key counts.
const fn change(key: &Key) -> &'static str {
    if key.needs_restart { "restart" } else { "at once" }
}

fn join(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

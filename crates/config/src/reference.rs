//! docs/configuration.md, from the types.

use std::fmt::Write as _;

use crate::Config;

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
         `mailtier config check` says whether a file is valid, `--print-config` of every program what it comes to.\n",
    );
    for (section, about, keys) in Config::SECTIONS {
        let _ = write!(text, "\n## `[{section}]`\n\n{}\n\n", join(about));
        text.push_str("| key | kind | default | meaning |\n|---|---|---|---|\n");
        for key in *keys {
            let default = defaults.get(section).and_then(|section| section.get(key.name));
            let default = default.map_or_else(|| "not set".to_owned(), |value| format!("`{value}`"));
            let _ = writeln!(text, "| `{}` | {} | {default} | {} |", key.name, key.kind, join(key.lines));
        }
    }
    for (name, about, keys) in Config::TABLES {
        let _ = write!(text, "\n## `{name}`\n\n{}\n\n| key | kind | meaning |\n|---|---|---|\n", join(about));
        for key in *keys {
            let _ = writeln!(text, "| `{}` | {} | {} |", key.name, key.kind, join(key.lines));
        }
    }
    text
}

fn join(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

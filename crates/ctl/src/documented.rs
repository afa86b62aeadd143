//! The commands of the operators' documents, against the grammar of the command line: what is written there can be typed.
//! Not responsible for what they print.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::cli::Cli;

/// What stands for something of the reader's, and what is typed here instead.
const PLACEHOLDERS: &[(&str, &str)] =
    &[("ID", "06zee04w00400"), ("<id>", "06zee04w00400"), ("N", "7"), ("ADDRESS", "user@example.com"), ("TIME", "2h")];

/// README.md and all documents below docs/operate.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents = vec![root.join("README.md"), root.join("docs/operations.md"), root.join("docs/cluster-tls.md")];
    let mut folders = vec![root.join("docs/operate")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path);
            }
        }
    }
    documents
}

/// The commands of a document: whole lines in blocks of code, and what stands between backticks in prose; each with whether it
/// is whole.
fn commands(content: &str) -> Vec<(String, bool)> {
    let mut commands = Vec::new();
    let mut prose = String::new();
    let mut in_code = false;
    for line in content.replace("\\\n", " ").lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if in_code {
            commands.push((line.trim_start().trim_start_matches("$ ").to_owned(), true));
        } else {
            // What stands between backticks may go on in the next line.
            prose.push_str(line.trim_start());
            prose.push(' ');
        }
    }
    commands.extend(prose.split('`').skip(1).step_by(2).map(|code| (code.to_owned(), false)));
    commands.retain(|(command, _)| command.starts_with("mailtier ") && !command.contains('…'));
    commands
}

/// The words of a command up to where the shell takes over.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    for character in command.chars() {
        match (character, quote) {
            ('\'' | '"', None) => (quote, begun) = (Some(character), true),
            (end, Some(begin)) if end == begin => quote = None,
            (' ', None) => {
                words.extend((begun || !word.is_empty()).then(|| std::mem::take(&mut word)));
                begun = false;
            }
            ('|' | ';' | '#' | '&', None) if word.is_empty() => break,
            ('>', None) if word.is_empty() => break,
            (other, _) => word.push(other),
        }
    }
    words.extend((begun || !word.is_empty()).then_some(word));
    let typed = |word: String| {
        PLACEHOLDERS.iter().find(|(name, _)| *name == word).map_or(word, |(_, value)| (*value).to_owned())
    };
    words.into_iter().map(typed).collect()
}

/// What the grammar says of it, if that is not what the document wants.
fn refusal(command: &str, whole: bool) -> Option<String> {
    let error = Cli::try_parse_from(words(command)).err()?;
    let unfinished = [
        ErrorKind::MissingRequiredArgument,
        ErrorKind::MissingSubcommand,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
    ];
    let fine = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    (!fine && (whole || !unfinished.contains(&error.kind()))).then(|| error.to_string())
}

#[test]
fn what_documents_say_can_be_typed() {
    let mut found = 0;
    let mut refusals = Vec::new();
    for path in documents() {
        for (command, whole) in commands(&std::fs::read_to_string(&path).unwrap()) {
            found += 1;
            refusals.extend(refusal(&command, whole).map(|error| format!("{}: {command}\n{error}", path.display())));
        }
    }
    assert!(found > 60, "only {found} commands were found");
    assert!(refusals.is_empty(), "{}", refusals.join("\n"));
}

#[test]
fn slips_of_the_pen_are_found() {
    assert_eq!(words("mailtier queue delete ID > out # gone"), ["mailtier", "queue", "delete", "06zee04w00400"]);
    assert_eq!(words("mailtier trace '<>' --since 1h | head"), ["mailtier", "trace", "<>", "--since", "1h"]);
    assert_eq!(refusal("mailtier queue list", true), None);
    for wrong in ["mailtier queue lst", "mailtier queue list --destnation a.example", "mailtier trace"] {
        assert!(refusal(wrong, true).is_some(), "{wrong}");
    }
    assert_eq!(refusal("mailtier trace", false), None);
}

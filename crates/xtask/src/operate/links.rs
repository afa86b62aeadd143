//! Links of the documents to files and headings of this repository. Not responsible for those to the world.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{files, text};
use crate::tidy::Finding;

/// The folders whose documents are read, with all below them, beside README.md and CHANGELOG.md.
const FOLDER: &str = "docs";

/// Links that lead nowhere.
///
/// # Errors
/// A document cannot be read.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in documents(root)? {
        let content = text(root, &path)?;
        for link in links(&content) {
            if let Some(message) = problem(root, &path, link) {
                findings.push(Finding { check: "links", place: path.clone(), message });
            }
        }
    }
    Ok(findings)
}

/// All documents, below the root.
///
/// # Errors
/// A folder cannot be read.
pub(super) fn documents(root: &Path) -> anyhow::Result<Vec<String>> {
    let beside = ["README.md", "CHANGELOG.md"].map(str::to_owned);
    Ok(beside.into_iter().chain(files(root, FOLDER, &[".md"])?).collect())
}

/// The lines of a document that are prose.
pub(super) fn prose(content: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    content.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// What stands in `](…)`, `src="…"` and `srcset="…"`.
fn links(content: &str) -> Vec<&str> {
    let mut links = Vec::new();
    for line in prose(content) {
        for (open, close) in [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"')] {
            links.extend(line.split(open).skip(1).filter_map(|rest| rest.split(close).next()));
        }
    }
    links
}

fn problem(root: &Path, document: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { PathBuf::from(document) } else { resolve(document, path) };
    if !root.join(&target).exists() {
        return Some(format!("links {link}, and there is no {}", target.display()));
    }
    if heading.is_empty() || target.extension().is_none_or(|extension| extension != "md") {
        return None;
    }
    let content = std::fs::read_to_string(root.join(&target)).unwrap_or_default();
    (!headings(&content).contains(heading)).then(|| format!("links {link}, and there is no such heading"))
}

/// A path as a document of that name means it.
fn resolve(document: &str, path: &str) -> PathBuf {
    let mut resolved = Path::new(document).parent().map(Path::to_path_buf).unwrap_or_default();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::Normal(name) => resolved.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    resolved
}

/// The anchors of a document's headings, as GitHub makes them.
fn headings(content: &str) -> BTreeSet<String> {
    prose(content)
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|character| character.is_alphanumeric() || "-_ ".contains(*character));
    kept.map(|character| if character == ' ' { '-' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_of_code() {
        let content = "See [a](b.md#c-d) and <img src=\"x.svg\">.\n```\n[no](nothing.md)\n```\n[e](../f.md)";
        assert_eq!(links(content), ["b.md#c-d", "x.svg", "../f.md"]);
    }

    #[test]
    fn they_lead_where_a_browser_would_go() {
        assert_eq!(resolve("docs/operate/a.md", "../b.md"), Path::new("docs/b.md"));
        assert_eq!(resolve("README.md", "./docs/b.md"), Path::new("docs/b.md"));
        assert_eq!(anchor("`mailtier up`: what it does, and how"), "mailtier-up-what-it-does-and-how");
    }

    #[test]
    fn what_leads_nowhere_is_told() {
        let root = crate::workspace_root().unwrap();
        assert_eq!(problem(&root, "docs/a.md", "../README.md"), None);
        assert_eq!(problem(&root, "docs/a.md", "https://example.com/x"), None);
        assert!(problem(&root, "docs/a.md", "README.md").is_some());
        assert!(problem(&root, "docs/a.md", "../README.md#no-such-heading").is_some());
    }
}

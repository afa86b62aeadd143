//! `layers.toml` against `cargo metadata`: which crate may use which, and which crate alone owns a heavy dependency.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use serde::Deserialize;

use super::Finding;

/// The prefix of package names; folders have none.
const PREFIX: &str = "mailtier-";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layers {
    /// Crate → the crates of this workspace it may use, `types` aside.
    allowed: BTreeMap<String, BTreeSet<String>>,
    /// Foreign package → the crates that may use it.
    owners: BTreeMap<String, BTreeSet<String>>,
}

/// Dependencies that point the wrong way.
///
/// # Errors
/// `layers.toml` or the metadata cannot be read.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let text = fs::read_to_string(root.join("layers.toml")).context("cannot read layers.toml")?;
    let layers: Layers = toml::from_str(&text).context("layers.toml")?;
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .context("cargo metadata")?;
    Ok(metadata.packages.iter().flat_map(|package| check_package(&layers, package)).collect())
}

fn check_package(layers: &Layers, package: &Package) -> Vec<Finding> {
    let dependencies: Vec<(&str, bool)> = package
        .dependencies
        .iter()
        .map(|dependency| (dependency.name.as_str(), dependency.kind == DependencyKind::Development))
        .collect();
    check_names(layers, package.name.as_ref(), &dependencies)
}

/// `dependencies` are names, each with whether it is for tests only.
fn check_names(layers: &Layers, package: &str, dependencies: &[(&str, bool)]) -> Vec<Finding> {
    let name = package.strip_prefix(PREFIX).unwrap_or(package);
    let found = |message: String| Finding { check: "layers", place: format!("crates/{name}/Cargo.toml"), message };
    let Some(allowed) = layers.allowed.get(name) else {
        return vec![found("is not in layers.toml: say what it may use".to_owned())];
    };
    let mut findings = Vec::new();
    for &(dependency, for_tests) in dependencies {
        if for_tests {
            continue;
        }
        if let Some(internal) = dependency.strip_prefix(PREFIX) {
            if internal != "types" && !allowed.contains(internal) {
                findings.push(found(format!("uses {internal}, which its layer may not")));
            }
        } else if layers.owners.get(dependency).is_some_and(|owners| !owners.contains(name)) {
            findings.push(found(format!("uses {dependency}, which another crate owns")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_point_downward_and_heavy_dependencies_have_one_owner() {
        let layers: Layers =
            toml::from_str("[allowed]\ntypes = []\nqueue = [\"store\"]\nstore = []\n[owners]\nsqlx = [\"store\"]")
                .unwrap();
        let count = |package: &str, dependencies: &[(&str, bool)]| check_names(&layers, package, dependencies).len();
        assert_eq!(count("mailtier-queue", &[("mailtier-types", false), ("mailtier-store", false)]), 0);
        assert_eq!(count("mailtier-store", &[("mailtier-queue", false)]), 1);
        assert_eq!(count("mailtier-store", &[("mailtier-queue", true)]), 0, "tests may look upward");
        assert_eq!(count("mailtier-store", &[("sqlx", false)]), 0);
        assert_eq!(count("mailtier-queue", &[("sqlx", false)]), 1);
        assert_eq!(count("mailtier-new", &[]), 1);
    }
}

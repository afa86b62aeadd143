//! Checks the manifests of deploy/ as Helm and kustomize render them. Responsible for reading them and for running the
//! checks; not for schemas, which others know better, and not for rendering (deploy/kubernetes/check.sh does that).

mod drift;
mod links;
mod object;
mod pods;
mod programs;
mod reach;

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use object::Object;

/// All objects of one rendering.
struct Rendering {
    /// `helm-production`, `kustomize-demo`.
    name: String,
    objects: Vec<Object>,
}

impl Rendering {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let objects =
            serde_json::from_str(&text).with_context(|| format!("{} is no list of objects", path.display()))?;
        Ok(Self { name, objects })
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Object> {
        self.objects.iter().filter(move |object| object.kind() == kind)
    }

    fn find(&self, kind: &str, name: &str) -> Option<&Object> {
        self.objects.iter().find(|object| object.kind() == kind && object.name() == name)
    }
}

/// Runs every check over the renderings of a folder and returns what it found.
///
/// # Errors
/// A rendering cannot be read, or a program not be run.
pub fn run(rendered: &Path, programs: &Path) -> anyhow::Result<Vec<String>> {
    let mut paths: Vec<_> = fs::read_dir(rendered)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    let renderings: Vec<Rendering> = paths.iter().map(|path| Rendering::read(path)).collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(!renderings.is_empty(), "no rendered manifests in {}", rendered.display());
    let mut findings = drift::check(&renderings);
    let database = renderings.iter().find(|rendering| rendering.name == "kustomize-database");
    for rendering in renderings.iter().filter(|rendering| !drift::is_compared(&renderings, rendering)) {
        let mut found = pods::check(rendering);
        found.extend(links::check(rendering));
        if rendering.of_kind("Deployment").next().is_some() {
            found.extend(reach::check(rendering, database)?);
            found.extend(programs::check(rendering, &rendered.join("secrets"), programs)?);
        }
        findings.extend(found.into_iter().map(|finding| format!("{}: {finding}", rendering.name)));
    }
    Ok(findings)
}

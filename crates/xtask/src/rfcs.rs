//! `rfc.toml`: what the project conforms to. Not responsible for checking or showing it.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rfcs {
    pub(crate) rfc: Vec<Rfc>,
    /// What no RFC defines.
    #[serde(default)]
    pub(crate) other: Vec<Other>,
}

/// One RFC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rfc {
    pub(crate) number: u32,
    pub(crate) title: String,
    pub(crate) state: State,
    #[serde(default)]
    pub(crate) note: String,
}

/// Something defined elsewhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Other {
    pub(crate) name: String,
    pub(crate) definition: String,
    pub(crate) note: String,
}

/// How much of an RFC there is.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Done,
    Partial,
    Todo,
}

impl Rfcs {
    /// # Errors
    /// `rfc.toml` cannot be read.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(root.join("rfc.toml")).context("cannot read rfc.toml")?;
        toml::from_str(&text).context("rfc.toml")
    }
}

//! The tiers one by one: `mailtier up` begins the programs that it finds beside itself, and here these are scripts that give
//! each its own environment or control group first. Responsible for the scripts.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::mailtier::QUEUE_PORT;

/// The programs, by the names of their files.
pub(crate) const PROGRAMS: [&str; 3] = ["mailtier-inbound", "mailtier-queue", "mailtier-outbound"];

/// Makes a folder to start from in place of `programs`. Each program begins with the lines of shell that `first` has for
/// its name.
pub(crate) fn wrapped(programs: &Path, folder: &Path, first: impl Fn(&str) -> String) -> anyhow::Result<PathBuf> {
    let programs = programs.canonicalize().with_context(|| format!("cannot find {}", programs.display()))?;
    fs::create_dir_all(folder)?;
    let (up, own) = (programs.join("mailtier"), folder.join("mailtier"));
    // It looks beside its own file, so that has to be here; a link by name would lead back.
    if fs::hard_link(&up, &own).is_err() {
        fs::copy(&up, &own).with_context(|| format!("cannot copy {}", up.display()))?;
    }
    for name in PROGRAMS {
        let script = folder.join(name);
        let program = programs.join(name);
        fs::write(&script, format!("#!/bin/sh\n{}exec '{}' \"$@\"\n", first(name), program.display()))?;
        fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    }
    Ok(folder.to_owned())
}

/// The same, and each program has the certificate that `mailtier certificates` made for it below `authority`.
pub(crate) fn with_certificates(programs: &Path, folder: &Path, authority: &Path) -> anyhow::Result<PathBuf> {
    let output = Command::new(programs.join("mailtier"))
        .args(["certificates", "create", "--directory"])
        .arg(authority)
        .stdin(Stdio::null())
        .output()
        .context("cannot start mailtier certificates")?;
    if !output.status.success() {
        bail!("mailtier certificates: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    wrapped(programs, folder, |name| {
        let role = authority.join(name.trim_start_matches("mailtier-"));
        let (chain, key) = (role.with_extension("pem"), role.with_extension("key"));
        let settings = [
            ("CLUSTER__TLS_CERTIFICATE", chain.display().to_string()),
            ("CLUSTER__TLS_KEY", key.display().to_string()),
            ("CLUSTER__TLS_CA", authority.join("ca.pem").display().to_string()),
            ("INBOUND__QUEUE", format!("https://127.0.0.1:{QUEUE_PORT}")),
            ("OUTBOUND__QUEUE", format!("https://127.0.0.1:{QUEUE_PORT}")),
        ];
        settings.map(|(key, value)| format!("export MAILTIER__{key}='{value}'\n")).concat()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_begins_with_its_lines_and_is_then_the_program_itself() {
        let folder = tempfile::tempdir().unwrap();
        let programs = folder.path().join("programs");
        fs::create_dir(&programs).unwrap();
        for name in PROGRAMS.into_iter().chain(["mailtier"]) {
            fs::write(programs.join(name), "#!/bin/sh\necho \"$TIER $0 $*\"\n").unwrap();
            fs::set_permissions(programs.join(name), Permissions::from_mode(0o755)).unwrap();
        }
        let made =
            wrapped(&programs, &folder.path().join("wrapped"), |name| format!("export TIER='{name}'\n")).unwrap();
        for name in PROGRAMS {
            let output = Command::new(made.join(name)).args(["a b", "c"]).output().unwrap();
            let expected = format!("{name} {} a b c\n", programs.canonicalize().unwrap().join(name).display());
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        }
        assert!(made.join("mailtier").is_file());
    }
}

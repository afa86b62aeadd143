//! What `deploy/compose/make-secrets.sh` makes of what it is given, and of what is there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use super::file::root;

fn make(folder: &Path) -> Output {
    Command::new("sh")
        .arg(root().join("deploy/compose/make-secrets.sh"))
        .args([folder.join("given"), folder.join("made")])
        .env("MAILTIER_HOSTNAME", "mx.test.example")
        .output()
        .unwrap()
}

#[test]
fn secrets_are_made_once_and_may_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let (given, made) = (folder.path().join("given"), folder.path().join("made"));
    let read = |name: &str| fs::read_to_string(made.join(name)).unwrap();
    fs::create_dir(&given).unwrap();
    assert!(make(folder.path()).status.success());
    let files = ["admin/token", "cluster/secret", "grafana/password", "postgres/password"];
    let first = files.map(read);
    for (name, secret) in files.iter().zip(&first) {
        assert!(secret.len() == 64 && secret.bytes().all(|octet| octet.is_ascii_hexdigit()), "{name}: {secret}");
        let mode = fs::metadata(made.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} can be read by others");
        let mode = fs::metadata(made.join(name).parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o055, 0o055, "whose it is cannot come to {name}");
        assert_eq!(first.iter().filter(|other| *other == secret).count(), 1, "{name} is another's");
    }
    let certificate = read("tls/tls.crt");

    assert!(make(folder.path()).status.success());
    assert_eq!((files.map(read), read("tls/tls.crt")), (first.clone(), certificate.clone()), "what is there stays");

    // With what a URL has a meaning for, and the line end that editors add.
    fs::write(given.join("database-password"), "a:b@c/d?e%f ä\n").unwrap();
    fs::write(given.join("admin-token"), "given").unwrap();
    assert!(make(folder.path()).status.success());
    assert_eq!((read("admin/token").as_str(), read("cluster/secret")), ("given", first[1].clone()));
    let expected: String = "a:b@c/d?e%f ä".bytes().map(|octet| format!("%{octet:02x}")).collect();
    assert_eq!(read("database/url"), format!("postgres://mailtier:{expected}@postgres/mailtier"));
}

#[test]
fn what_is_given_by_halves_is_refused_and_changes_nothing() {
    for (name, complaint) in [("cluster-secret", "cluster-secret is empty"), ("tls.crt", "tls.crt is missing or empty")]
    {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("given")).unwrap();
        assert!(make(folder.path()).status.success());
        let before = fs::read(folder.path().join("made/tls/tls.crt")).unwrap();
        fs::write(folder.path().join("given").join(name), "").unwrap();
        let output = make(folder.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{name}");
        assert!(said.contains(complaint), "{name}: {said}");
        assert_eq!(fs::read(folder.path().join("made/tls/tls.crt")).unwrap(), before);
    }
}

//! The workspace keeps its own habits.

#[test]
fn the_workspace_is_tidy() {
    let root = mailtier_xtask::workspace_root().unwrap();
    let findings = mailtier_xtask::tidy::run(&root).unwrap();
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn generated_documents_are_current() {
    let root = mailtier_xtask::workspace_root().unwrap();
    let stale = mailtier_xtask::generate::run(&root, true).unwrap();
    assert!(stale.is_empty(), "{}", stale.join("\n"));
}

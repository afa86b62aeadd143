//! The corpora again: every input of every target, through every target.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what helps a test may fail loudly")]

use std::path::Path;

#[test]
fn nothing_that_was_ever_found_goes_wrong_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, _) in mailtier_fuzz::TARGETS {
        let inputs: Vec<_> = std::fs::read_dir(folder.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!inputs.is_empty(), "{name} has a corpus");
        for input in inputs {
            let data = std::fs::read(&input).unwrap();
            for (_, run) in mailtier_fuzz::TARGETS {
                run(&data);
            }
        }
    }
}

#[test]
fn every_dialogue_is_an_input() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../smtp/tests/dialogues");
    let run = mailtier_fuzz::target("command").unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let said: String =
            text.lines().filter_map(|line| line.strip_prefix("C: ")).map(|line| format!("{line}\r\n")).collect();
        for flags in [0_u8, 1, 2, 4, 8, 8 + 16, 32, 63] {
            run(&[&[flags], said.as_bytes()].concat());
        }
    }
}

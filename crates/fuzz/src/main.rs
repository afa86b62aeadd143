//! libFuzzer's entry. `FUZZ_TARGET` names the target; the arguments are libFuzzer's own.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<mailtier_fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    mailtier_fuzz::target(&name).unwrap_or_else(|| {
        let known = mailtier_fuzz::TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        #[expect(clippy::print_stderr, reason = "a command's way to say what is wrong")]
        {
            eprintln!("FUZZ_TARGET is `{name}`; expected one of {known}");
        }
        std::process::exit(64)
    })
});

fuzz_target!(|data: &[u8]| TARGET(data));

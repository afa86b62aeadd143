//! Compiles the protobuf files without a system protoc.

#![allow(clippy::print_stdout, reason = "that is how a build script speaks")]

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("../../proto");
    let files =
        ["submit", "work", "events", "accounts", "admin"].map(|name| root.join(format!("mailtier/v1/{name}.proto")));
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(files, [root])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
